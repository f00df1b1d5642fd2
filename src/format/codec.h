// Encoder and Decoder: little-endian fields in a byte string, for values on disk.
//
// A Decoder never reads outside its input: after the first field that does not fit, every further
// one is zero and ok() is false.  So a decode function reads all fields and asks ok() once.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

namespace larder::format {

static_assert(std::endian::native == std::endian::little, "the codecs copy native integers");

class Encoder {
 public:
  template <class T>
    requires std::is_integral_v<T>
  Encoder& put(T value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  // Length (u32) and bytes.
  Encoder& put_bytes(std::string_view bytes) {
    put(static_cast<uint32_t>(bytes.size()));
    out_.append(bytes);
    return *this;
  }
  std::string take() { return std::move(out_); }
  size_t size() const { return out_.size(); }

 private:
  std::string out_;
};

class Decoder {
 public:
  explicit Decoder(std::string_view in) : in_(in) {}

  template <class T>
    requires std::is_integral_v<T>
  T get() {
    T value{};
    if (in_.size() < sizeof value) {
      fail();
      return value;
    }
    in_.copy(reinterpret_cast<char*>(&value), sizeof value);
    in_.remove_prefix(sizeof value);
    return value;
  }
  std::string_view get_bytes() {
    const auto length = get<uint32_t>();
    if (in_.size() < length) {
      fail();
      return {};
    }
    const std::string_view bytes = in_.substr(0, length);
    in_.remove_prefix(length);
    return bytes;
  }
  // A field's value that no encoder writes: the rest is not read.
  void refuse() { fail(); }
  bool ok() const { return ok_; }
  // Everything was there and nothing was left over.
  bool complete() const { return ok_ && in_.empty(); }

 private:
  void fail() {
    ok_ = false;
    in_ = {};
  }
  std::string_view in_;
  bool ok_ = true;
};

}  // namespace larder::format
