// The words of mount(8) and fstab that are no keys of larder.
//
// What they promise is kept: the flags that the kernel obeys are given to it, those that ask for
// nothing are taken without effect, and those that nobody can honour are refused.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace larder::app {

// For mount(8) and its like, or for what is so in any case: "_netdev", "nofail", "x-...".
bool is_flag_without_effect(std::string_view name);

// Those for the kernel.  Of a flag and its opposite, "nosuid" and "suid", the later one counts.
class KernelFlags {
 public:
  // False: `name` is no such flag.  `on` false says the opposite.  Errors (kInvalid) are a reason
  // to be put after the flag's name.
  Result<bool> set(std::string_view name, bool on);
  // As libfuse takes them; what a mount is without being told is left out.
  const std::vector<std::string>& words() const { return words_; }
  // kInvalid: a user who is not root may not have one of them; the reason names it.
  Result<void> check_allowed_to_users() const;

 private:
  void put(std::string_view word);
  std::vector<std::string> words_;
};

}  // namespace larder::app
