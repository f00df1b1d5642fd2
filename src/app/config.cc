#include "app/config.h"

#include <fmt/format.h>
#include <ini.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "app/keys.h"
#include "app/mount_flags.h"
#include "app/nearest.h"
#include "app/rule_settings.h"
#include "app/text_file.h"

namespace larder::app {
namespace {

std::vector<std::string> split_options(std::string_view text) {
  std::vector<std::string> items(1);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == ',')
      items.emplace_back();
    else if (text[i] == '\\' && i + 1 < text.size())
      items.back() += text[++i];
    else
      items.back() += text[i];
  }
  return items;
}

std::unexpected<Error> unknown_key(const Setting& setting) {
  const std::string_view near = nearest_key(setting.key);
  std::vector<std::string_view> names;
  for (const Key& key : keys()) names.push_back(key.name);
  const std::string advice = near.empty() ? fmt::format("the keys are {}", fmt::join(names, ", "))
                                          : fmt::format("did you mean '{}'?", near);
  return fail(Code::kInvalid, fmt::format("{}: unknown key '{}' (value '{}'): {}", setting.origin,
                                          setting.key, setting.value, advice));
}

std::unexpected<Error> bad_value(const Setting& setting, const Key& key) {
  const bool is_duration = std::holds_alternative<DurationField>(key.field);
  return fail(
      Code::kInvalid,
      fmt::format("{}: bad value '{}' for {}: {}accepted: {}", setting.origin, setting.value,
                  key.name, is_duration ? missing_unit(setting.value) : "", accepted_values(key)));
}

// Applies settings over one another and remembers whence each value came.
class Layers {
 public:
  Result<void> apply(const Setting& setting) {
    if (!setting.rule.empty()) {
      config_.rule_settings.push_back(setting);
      return apply_rule_setting(config_.rules, setting);
    }
    if (setting.key == "rw") {
      const auto on = parse_switch(setting.value);
      return apply({"ro", on && !*on ? "on" : "off", setting.origin});
    }
    TRY_ASSIGN(const bool is_flag, apply_flag(setting));
    if (is_flag) return {};
    const Key* key = find_key(setting.key);
    if (key == nullptr) return unknown_key(setting);
    if (!set_value(config_, *key, setting.value)) return bad_value(setting, *key);
    const auto known = std::ranges::find(config_.effective, setting.key, &Setting::key);
    if (known == config_.effective.end())
      config_.effective.push_back(setting);
    else
      *known = setting;
    return {};
  }
  Config take() { return std::move(config_); }

 private:
  Result<bool> apply_flag(const Setting& setting) {
    const auto on = parse_switch(setting.value);
    const bool may_be_name = setting.key == "user";  // mount(8) says who
    const auto taken = config_.kernel_flags.set(setting.key, on.value_or(true));
    if (!taken)
      return fail(Code::kInvalid, fmt::format("{}: {} is not possible: {}", setting.origin,
                                              setting.key, taken.error().detail()));
    if (*taken && !on && !may_be_name)
      return fail(Code::kInvalid, fmt::format("{}: bad value '{}' for {}: accepted: on or off",
                                              setting.origin, setting.value, setting.key));
    return taken;
  }

  Config config_;
};

// inih wants lines one at a time; counting them here gives errors their line number.
struct IniReader {
  std::string_view rest;
  std::string name;
  int line = 0;
  std::vector<Setting> settings;
  std::optional<Error> error;
  std::string rule = {};  // the pattern of the section

  std::string origin() const { return fmt::format("{}:{}", name, line); }

  static char* next_line(char* into, int size, void* self_pointer) {
    auto& self = *static_cast<IniReader*>(self_pointer);
    if (self.rest.empty() || self.error) return nullptr;
    const size_t end = self.rest.find('\n');
    std::string_view text = self.rest.substr(0, end);
    self.rest.remove_prefix(end == std::string_view::npos ? self.rest.size() : end + 1);
    ++self.line;
    // An indented line would continue the one before it; here each line stands for itself.
    text.remove_prefix(std::min(text.find_first_not_of(" \t\r"), text.size()));
    if (text.starts_with('[')) text = self.enter_section(text);
    if (text.size() + 1 > static_cast<size_t>(size)) {
      self.error = Error(Code::kInvalid, fmt::format("{}: the line is longer than {} characters",
                                                     self.origin(), size - 1));
      return nullptr;
    }
    *std::copy(text.begin(), text.end(), into) = '\0';
    return into;
  }

  // inih takes neither long names of sections nor those with a ']': it gets a stand-in for a
  // rule's.  Of any other section than [mount] nobody would read the keys.
  std::string_view enter_section(std::string_view text) {
    rule.clear();
    const std::string_view before_comment =
        text.substr(0, std::min(text.find("] ;"), text.find("] #")) + 1);
    const std::string_view header = before_comment.empty() ? text : before_comment;
    const size_t end = header.find_last_not_of(" \t\r");
    if (header[end] != ']') return text;  // inih finds what is wrong with it
    const std::string_view name_of_it = header.substr(1, end - 1);
    const std::string_view rest_of_it =
        name_of_it.starts_with("rule") ? name_of_it.substr(4) : std::string_view("-");
    const size_t begin = rest_of_it.find_first_not_of(" \t");
    if (begin == 0) {  // not "rule" and a blank
      if (name_of_it != "mount") error = unknown_section(name_of_it);
      return text;
    }
    rule = "/";  // no pattern, and so no name of a file
    if (begin != rest_of_it.npos)
      rule = rest_of_it.substr(begin, rest_of_it.find_last_not_of(" \t") + 1 - begin);
    settings.push_back({"", "", origin(), rule});
    return "[rule]";
  }

  Error unknown_section(std::string_view section) const {
    std::string lower(section);
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
    static constexpr std::array<std::string_view, 2> kSections{"mount", "rule"};
    const std::string_view near = nearest_word(lower.substr(0, lower.find(' ')), kSections);
    return Error(Code::kInvalid,
                 fmt::format("{}: unknown section '[{}]': {}the sections are [mount] and "
                             "[rule PATTERN]",
                             origin(), section,
                             near.empty() ? ""
                                          : fmt::format("did you mean [{}]? ",
                                                        near == "rule" ? "rule PATTERN" : near)));
  }

  static int on_pair(void* self_pointer, const char* /*section*/, const char* key,
                     const char* value) {
    auto& self = *static_cast<IniReader*>(self_pointer);
    if (!self.rule.empty()) {
      self.settings.push_back({key, value, self.origin(), self.rule});
      return 1;
    }
    if (is_flag_without_effect(key)) return 1;
    self.settings.push_back({key, value, self.origin()});
    return 1;
  }
};

}  // namespace

Result<std::vector<Setting>> parse_options(std::string_view text) {
  std::vector<Setting> settings;
  for (const std::string& item : split_options(text)) {
    const size_t equals = item.find('=');
    const std::string name = item.substr(0, equals);
    if (is_flag_without_effect(name)) continue;
    if (equals != std::string::npos) {
      settings.push_back({name, item.substr(equals + 1), "-o"});
      continue;
    }
    const Key* key = find_key(name);
    if (key != nullptr && !std::holds_alternative<SwitchField>(key->field))
      return fail(Code::kInvalid,
                  fmt::format("-o: {} needs a value: {}={}", name, name, accepted_values(*key)));
    settings.push_back({name, "on", "-o"});
  }
  return settings;
}

Result<std::vector<Setting>> parse_ini(std::string_view text, const std::string& name) {
  IniReader reader{.rest = text, .name = name, .line = 0, .settings = {}, .error = {}};
  const int bad_line =
      ini_parse_stream(&IniReader::next_line, &reader, &IniReader::on_pair, &reader);
  if (reader.error) return fail(*reader.error);
  if (bad_line > 0)
    return fail(Code::kInvalid,
                fmt::format("{}:{}: expected KEY = VALUE, [SECTION] or a comment", name, bad_line));
  return std::move(reader.settings);
}

Result<std::vector<Setting>> read_ini_file(const std::string& path) {
  const auto text = read_text_file(path);
  if (!text)
    return fail(Code::kInvalid,
                fmt::format("{}: cannot be read: {}", path, code_name(text.error().code())));
  return parse_ini(*text, path);
}

Result<Config> make_config(const std::vector<Setting>& settings) {
  Layers layers;
  std::string_view profile;
  for (const Key& key : keys()) {
    TRY(layers.apply({std::string(key.name), std::string(key.default_value), "default"}));
    if (key.name == "profile") profile = key.default_value;
  }
  for (const Setting& setting : settings)
    if (setting.rule.empty() && setting.key == "profile") profile = setting.value;
  for (const Setting& setting : profile_settings(profile)) TRY(layers.apply(setting));
  for (const Setting& setting : settings) TRY(layers.apply(setting));
  return layers.take();
}

std::string render_config(const Config& config) {
  std::string text = "[mount]\n";
  for (const Setting& setting : config.effective)
    text += fmt::format("{} ; {}\n", fmt::format("{} = {}", setting.key, setting.value),
                        setting.origin);
  for (const std::string& flag : config.kernel_flags.words())
    text += fmt::format("{} = on\n", flag);
  for (const Setting& setting : config.rule_settings)
    text += setting.key.empty()
                ? fmt::format("\n[rule {}] ; {}\n", setting.rule, setting.origin)
                : fmt::format("{} = {} ; {}\n", setting.key, setting.value, setting.origin);
  return text;
}

}  // namespace larder::app
