// CHECK: a broken invariant ends the process with the place and the broken condition.
// For what can happen in operation use Result (base/error.h).
#pragma once

#include <string_view>

namespace larder {

[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view detail = {});

}  // namespace larder

#define CHECK(condition)                                      \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::larder::check_failed(__FILE__, __LINE__, #condition); \
  } while (false)

#define CHECK_MSG(condition, detail)                                    \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::larder::check_failed(__FILE__, __LINE__, #condition, (detail)); \
  } while (false)
