// Errors on their way to the terminal: from here on detail() is the whole line.
#pragma once

#include <utility>

#include "base/error.h"

namespace larder::app {

// For errors of the parts below, which say what failed and leave the reason to their code.
template <class T>
Result<T> in_words(Result<T> result) {
  if (!result) return fail(result.error().code(), result.error().message());
  return result;
}

}  // namespace larder::app
