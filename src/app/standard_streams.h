// What a command says: its output on stdout, and lines for the user on stderr.
//
// Nothing here throws, and neither a closed descriptor, a full disk nor a reader that has gone
// changes what a command does.  Only a lost output makes a command that went well fail, as in other
// programs: a pipeline or a script would go on with half of it.
#pragma once

#include <fmt/format.h>

#include <cstdio>
#include <string_view>

namespace larder::app {

// First of all in main(): stdin, stdout and stderr that the caller has closed are opened, onto
// /dev/null and so that they cannot be used.  Else the next files to be opened would be taken for
// them: a lock, a pipe, the connection to the kernel.
void open_standard_streams();

// The command's output: what fails is remembered for finish_output().  When the reader of a pipe
// has gone the process ends as SIGPIPE ends it, unless its caller ignores that signal.
void write_output(std::string_view text);
template <class... Arguments>
void output(fmt::format_string<Arguments...> format, Arguments&&... arguments) {
  write_output(fmt::format(format, std::forward<Arguments>(arguments)...));
}

// Says, where the output got lost, why; then a code of success becomes kExitFailed.
int finish_output(int exit_code);

// A line on stdout of which nothing depends: what was done is done, whoever gets to know.
void announce(std::string_view line);
// On stderr, as it is.
void write_message(std::string_view text);
// Prints "larder: <line>" on stderr.
void complain(std::string_view line);

}  // namespace larder::app
