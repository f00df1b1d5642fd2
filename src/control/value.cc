#include "control/value.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace larder::control {

using Json = nlohmann::ordered_json;

std::string one_line(std::string_view text) {
  std::string line;
  for (const char byte : text) {
    if (static_cast<unsigned char>(byte) >= 0x20 && byte != 0x7f)
      line += byte;
    else
      line += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  }
  return line;
}

struct ValueWriter {
  static Json json_of(const Value& value) {
    return std::visit([](const auto& inner) { return json_of_inner(inner); }, value.value_);
  }
  template <class T>
  static Json json_of_inner(const T& inner) {
    return inner;
  }
  static Json json_of_inner(const Value::Array& inner) {
    Json array = Json::array();
    for (const Value& element : inner) array.push_back(json_of(element));
    return array;
  }
  static Json json_of_inner(const Value::Object& inner) {
    Json object = Json::object();
    for (const auto& [name, element] : inner) object[name] = json_of(element);
    return object;
  }

  static bool is_scalar(const Value& value) {
    return !std::holds_alternative<Value::Array>(value.value_) &&
           !std::holds_alternative<Value::Object>(value.value_);
  }
  static std::string scalar(const Value& value) {
    if (const auto* flag = std::get_if<bool>(&value.value_)) return *flag ? "yes" : "no";
    if (const auto* number = std::get_if<uint64_t>(&value.value_)) return fmt::to_string(*number);
    if (const auto* number = std::get_if<int64_t>(&value.value_)) return fmt::to_string(*number);
    if (const auto* text = std::get_if<std::string>(&value.value_)) return one_line(*text);
    return {};
  }

  void write(const Value& value, size_t depth) {
    if (const auto* object = std::get_if<Value::Object>(&value.value_)) {
      for (const auto& [name, element] : *object) write_member(name, element, depth);
    } else if (const auto* array = std::get_if<Value::Array>(&value.value_)) {
      for (const Value& element : *array) {
        out += fmt::format("{:{}}-\n", "", depth * 2);
        write(element, depth + 1);
      }
    } else {
      out += fmt::format("{:{}}{}\n", "", depth * 2, scalar(value));
    }
  }
  void write_member(const std::string& name, const Value& element, size_t depth) {
    if (is_scalar(element)) {
      out += fmt::format("{:{}}{}: {}\n", "", depth * 2, name, scalar(element));
    } else if (const auto* array = std::get_if<Value::Array>(&element.value_);
               array != nullptr && std::ranges::all_of(*array, is_scalar)) {
      std::vector<std::string> words;
      for (const Value& word : *array) words.push_back(scalar(word));
      out += fmt::format("{:{}}{}: {}\n", "", depth * 2, name, fmt::join(words, " "));
    } else {
      out += fmt::format("{:{}}{}:\n", "", depth * 2, name);
      write(element, depth + 1);
    }
  }

  std::string out;
};

std::string Value::to_json(bool indented) const {
  return ValueWriter::json_of(*this).dump(indented ? 2 : -1, ' ', false,
                                          Json::error_handler_t::replace);
}

std::string Value::to_text() const {
  ValueWriter writer;
  writer.write(*this, 0);
  return writer.out;
}

}  // namespace larder::control
