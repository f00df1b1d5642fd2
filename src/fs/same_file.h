// Whether the file that was found is the one that was known.
#pragma once

#include <cstdint>

#include "source/source.h"

namespace larder::fs {

enum class FileIs : uint8_t {
  kSame,            // with the content it had
  kChangedInPlace,  // the same, with another content: whoever has it open sees that
  kMaybeAnother,    // nobody can tell: whoever has the known one open goes by the own descriptor
  kAnother,         // whoever has the known one open keeps that
};

// By the inode numbers that were given for the two (0: none that means anything), and whether the
// version of the content differs other than by a change made here.
constexpr FileIs compare_files(source::InodeNumbers numbers, uint64_t known, uint64_t found,
                               bool is_other_version) {
  const bool numbers_tell =
      numbers != source::InodeNumbers::kUnreliable && known != 0 && found != 0;
  if (numbers_tell && known != found) return FileIs::kAnother;
  if (!is_other_version) return FileIs::kSame;
  return numbers_tell ? FileIs::kChangedInPlace : FileIs::kMaybeAnother;
}

}  // namespace larder::fs
