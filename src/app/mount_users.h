#pragma once

#include <string>
#include <vector>

namespace larder::app {

// "bash (pid 4711)": processes whose working directory, root, program or open file lies on the
// mount, as far as this user may see them; at most `count_max`.  Asks /proc only, never the mount.
std::vector<std::string> processes_using(const std::string& mountpoint, size_t count_max);

// All that run now.
std::vector<int> all_processes();
// "bash (pid 4711)".
std::string process_name(int pid);

}  // namespace larder::app
