// Which sanitizer this is built with, which g++ and clang say in ways of their own:
// LARDER_WITH_ASAN and LARDER_WITH_TSAN are 1 or 0, for the preprocessor.
#pragma once

#if defined(__SANITIZE_ADDRESS__)
#define LARDER_WITH_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LARDER_WITH_ASAN 1
#endif
#endif

#if defined(__SANITIZE_THREAD__)
#define LARDER_WITH_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LARDER_WITH_TSAN 1
#endif
#endif

#ifndef LARDER_WITH_ASAN
#define LARDER_WITH_ASAN 0
#endif
#ifndef LARDER_WITH_TSAN
#define LARDER_WITH_TSAN 0
#endif

namespace larder {

// They slow everything down, and bring an operator new of their own.
inline constexpr bool kIsSanitized = LARDER_WITH_ASAN != 0 || LARDER_WITH_TSAN != 0;

}  // namespace larder
