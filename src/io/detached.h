// Detached: a coroutine nobody awaits.  It starts at once and destroys itself at its end.  For io/
// only: the owner must learn of the end by other means, as Reactor::spawn and TaskGroup do.
#pragma once

#include <coroutine>
#include <exception>

namespace larder::io::detail {

struct Detached {
  struct promise_type {
    Detached get_return_object() const noexcept { return {}; }
    std::suspend_never initial_suspend() const noexcept { return {}; }
    std::suspend_never final_suspend() const noexcept { return {}; }
    void return_void() const noexcept {}
    [[noreturn]] void unhandled_exception() const noexcept { std::terminate(); }
  };
};

}  // namespace larder::io::detail
