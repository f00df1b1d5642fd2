// Threads of larder: named, and deaf to signals, which are the main thread's business.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "base/error.h"

namespace larder::io {

// Fails when the system gives no more threads.  The first 15 characters of the name are shown by ps
// and top.
Result<std::thread> start_thread(const std::string& name, std::move_only_function<void()> body);

}  // namespace larder::io
