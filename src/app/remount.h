// `mount -o remount`: what can be changed of a mount while it is in use.
//
// The kernel's flags of the mount point can (ro, nosuid, noatime and the like).  Keys cannot; those
// that have the value already are no change, any other is refused by name.
#pragma once

#include <string_view>

#include "app/commands.h"

namespace larder::app {

bool asks_for_remount(std::string_view options);
// Gives the exit code.
int remount(const MountArguments& arguments);

}  // namespace larder::app
