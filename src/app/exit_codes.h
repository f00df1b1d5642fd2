#pragma once

namespace larder::app {

// As mount(8) has them.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitMountFailed = 32;

}  // namespace larder::app
