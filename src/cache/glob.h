// Patterns for paths, as gitignore has them.
//
// `*` stands for any characters but '/', `?` for one, `[a-z]` or `[!a-z]` for one of a set, `**`
// for any characters at all, `**/` also for no directory; a backslash takes the next one as it is.
// A pattern without '/' (but at its end) is looked for in every directory, one with '/' begins at
// the root.  What matches a directory covers all that is beneath it; with '/' at its end a pattern
// matches directories only.
//
// Matching takes time in proportion to pattern x path, whatever they contain.
#pragma once

#include <bitset>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace larder::cache {

// Immutable, so thread-safe.
class Glob {
 public:
  static constexpr size_t kLengthMax = 255;

  // kInvalid, with what is wrong in detail(), for what is no pattern.
  static Result<Glob> parse(std::string_view pattern);

  // `path`: relative to the root, without '/' at its beginning or end.
  bool matches(std::string_view path) const;
  const std::string& text() const { return text_; }

 private:
  enum class Kind : uint8_t {
    kCharacter,
    kOne,          // ?
    kSet,          // [...]
    kMany,         // *
    kAnything,     // **
    kDirectories,  // **/: at the beginning of a name; the next token stands for within one
    kWithinName,
  };
  struct Token {
    Kind kind;
    char character = 0;
    uint8_t set = 0;  // index
  };
  // Bit n: the first n tokens have matched.  A pattern's tokens, two for `**/` before it, fit.
  using States = std::bitset<kLengthMax + 4>;

  class Parser;
  void skip_empty(States& states) const;
  States step(const States& states, char character) const;

  std::string text_;
  std::vector<Token> tokens_;
  std::vector<std::bitset<256>> sets_;
  bool directories_only_ = false;
};

}  // namespace larder::cache
