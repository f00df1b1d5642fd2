// Errors that can happen in operation, and Result<T>, which carries a value or one of them.
//
// A Code below kFirstOwn is the operating system's errno under that number, so nothing a source
// reports is lost on its way to the caller.  Codes from kFirstOwn on are larder's own; the one
// place that turns a Code into an errno for the kernel is fuse/errno_map.
#pragma once

#include <cerrno>
#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace larder {

enum class Code : int {
  kNotFound = ENOENT,
  kExists = EEXIST,
  kIo = EIO,
  kNoSpace = ENOSPC,
  kInvalid = EINVAL,
  kNotSupported = EOPNOTSUPP,
  kStale = ESTALE,
  kNoDescriptors = EMFILE,
  kBusy = EBUSY,

  kFirstOwn = 10000,
  kCorrupt,      // stored bytes do not verify
  kNewerFormat,  // written by a later version of larder
  kCancelled,    // larder is stopping, or the request was interrupted
  kTimedOut,     // the source did not answer within source_timeout
  kSourceDown,   // the circuit breaker is open; the source was not asked
  kLimit,        // a configured bound was reached; try later or go round the cache
  kShort,        // fewer bytes than the file's size promised
  kPoisoned,     // an earlier write or sync failed; this log takes no more
  kLocked,       // another process owns it
};

class [[nodiscard]] Error {
 public:
  explicit Error(Code code) : code_(code) {}
  Error(Code code, std::string detail) : code_(code), detail_(std::move(detail)) {}
  // The error behind the current value of errno.
  static Error from_errno(std::string detail = {}) {
    return Error(static_cast<Code>(errno), std::move(detail));
  }

  Code code() const { return code_; }
  bool is(Code code) const { return code_ == code; }
  // What was being done, with the thing's name ("open /var/cache/x/superblock"); may be empty.
  const std::string& detail() const { return detail_; }
  // One line: detail and the meaning of the code.
  std::string message() const;

 private:
  Code code_;
  std::string detail_;
};

std::string_view code_name(Code code);

template <class T>
using Result = std::expected<T, Error>;

inline std::unexpected<Error> fail(Code code, std::string detail = {}) {
  return std::unexpected(Error(code, std::move(detail)));
}
inline std::unexpected<Error> fail_errno(std::string detail = {}) {
  return std::unexpected(Error::from_errno(std::move(detail)));
}
inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

}  // namespace larder

#define LARDER_CONCAT_(a, b) a##b
#define LARDER_CONCAT(a, b) LARDER_CONCAT_(a, b)

// TRY(expr): return expr's error from this function, else go on.
#define TRY(expr)                                             \
  do {                                                        \
    if (auto try_result_ = (expr); !try_result_) [[unlikely]] \
      return std::unexpected(std::move(try_result_).error()); \
  } while (false)

// TRY_ASSIGN(auto x, expr): x is expr's value, or its error is returned.
#define TRY_ASSIGN(target, expr) TRY_ASSIGN_(target, expr, LARDER_CONCAT(try_, __LINE__), return)
// The same in a coroutine.
#define CO_TRY(expr)                                             \
  do {                                                           \
    if (auto try_result_ = (expr); !try_result_) [[unlikely]]    \
      co_return std::unexpected(std::move(try_result_).error()); \
  } while (false)
#define CO_TRY_ASSIGN(target, expr) \
  TRY_ASSIGN_(target, expr, LARDER_CONCAT(try_, __LINE__), co_return)

#define TRY_ASSIGN_(target, expr, name, return_keyword)      \
  auto name = (expr);                                        \
  if (!name) [[unlikely]]                                    \
    return_keyword std::unexpected(std::move(name).error()); \
  target = std::move(*name)
