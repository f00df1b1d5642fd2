// Value: a tree of named values that is shown as text to people or as JSON to programs.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace larder::control {

// The text with control characters written \\xNN, so that a file's name cannot break a line.
std::string one_line(std::string_view text);

class Value {
 public:
  using Array = std::vector<Value>;
  using Object = std::vector<std::pair<std::string, Value>>;  // in the order of showing

  // As in JSON's notation:
  // NOLINTBEGIN(google-explicit-constructor)
  Value(bool value) : value_(value) {}
  template <std::unsigned_integral T>
    requires(!std::same_as<T, bool>)
  Value(T value) : value_(uint64_t{value}) {}
  template <std::signed_integral T>
  Value(T value) : value_(int64_t{value}) {}
  Value(std::string value) : value_(std::move(value)) {}
  Value(std::string_view value) : value_(std::string(value)) {}
  Value(const char* value) : value_(std::string(value)) {}
  Value(Array value) : value_(std::move(value)) {}
  Value(Object value) : value_(std::move(value)) {}
  // NOLINTEND(google-explicit-constructor)

  // One line for JSON lines, or indented.  Bytes that are no UTF-8 are replaced.
  std::string to_json(bool indented) const;
  // "name: value" lines, what is inside of something indented under it.
  std::string to_text() const;

 private:
  friend struct ValueWriter;
  std::variant<bool, uint64_t, int64_t, std::string, Array, Object> value_;
};

}  // namespace larder::control
