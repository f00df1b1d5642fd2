// The one table of configuration keys: behind the INI file, -o, the `config` virtual file and
// --help.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "app/config.h"

namespace larder::app {

// How a key's value is read, checked and stored.
struct SizeField {
  uint64_t Config::* member;
  uint64_t min;
  uint64_t max;
  bool power_of_two = false;
};
struct SizeLimitField {
  SizeLimit Config::* member;
  uint64_t min;
  std::string_view what = "a size";
  std::string_view whole = "the disk";
};
// A share of something, as a user writes it: "50%".
struct ShareField {
  uint32_t Config::* member;  // in percent
  uint32_t min;
  uint32_t max;
};
struct DurationField {
  Nanos Config::* member;
  Nanos min;
  Nanos max;
  bool zero_allowed = false;  // besides
};
struct CountField {
  uint32_t Config::* member;
  uint32_t min;
  uint32_t max;
  bool auto_allowed = false;  // "auto" is stored as 0
};
struct SwitchField {
  bool Config::* member;
};
struct ChoiceField {
  std::vector<std::string_view> choices;
  void (*set)(Config&, size_t choice);
};
struct TextField {
  std::string Config::* member;
  std::string_view accepted;
  bool (*accepts)(std::string_view);
};

struct Key {
  std::string_view name;
  std::variant<SizeField, SizeLimitField, ShareField, DurationField, CountField, SwitchField,
               ChoiceField, TextField>
      field;
  std::string_view default_value;
  std::string_view help;  // one line
};

std::span<const Key> keys();
const Key* find_key(std::string_view name);

// The key a mistyped name may have meant; empty when none is near.
std::string_view nearest_key(std::string_view name);

// What the key takes, in words: "4K to 1M, a power of two".
std::string accepted_values(const Key& key);

// Stores a value; on a bad one kInvalid without a detail, and config is unchanged.
Result<void> set_value(Config& config, const Key& key, std::string_view value);

// The group of defaults a profile selects, as settings of other keys.
std::vector<Setting> profile_settings(std::string_view profile);

// The table for `larder mount --help`.
std::string keys_help();

}  // namespace larder::app
