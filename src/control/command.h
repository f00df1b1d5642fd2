// Command lines of the control file: parsing, encoding, dispatch.  The protocol is in
// include/larder/control.h.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace larder::control {

// Makes a word of any bytes: "a b" -> "a%20b".
std::string encode_word(std::string_view plain);
// kInvalid when a "%" is not followed by two hexadecimal digits.
Result<std::string> decode_word(std::string_view word);

// ENOENT for the operating system's codes, a word for larder's own.
std::string code_word(Code code);

// What `add` gets are the command's decoded words, without its name.  Gives the text after "ok".
using CommandHandler = std::function<Result<std::string>(const std::vector<std::string>& words)>;

// The same with the number of the open control file that the command came through.
using ClientCommandHandler =
    std::function<Result<std::string>(const std::vector<std::string>& words, uint64_t client)>;

// Knows `help` by itself.  Filled before the first call of run(); from then on immutable, so run()
// is as thread-safe as the handlers.
class CommandTable {
 public:
  void add(const std::string& name, CommandHandler handler);
  void add(const std::string& name, ClientCommandHandler handler);
  // Called when an open control file is closed.
  void add_closed(std::function<void(uint64_t client)> handler);
  // Runs what was written, a command a line, and gives one reply line for each.  Empty lines are
  // skipped.
  std::string run(std::string_view lines, uint64_t client = 0) const;
  void closed(uint64_t client) const;

 private:
  Result<std::string> run_line(std::string_view line, uint64_t client) const;
  std::string names() const;

  std::map<std::string, ClientCommandHandler, std::less<>> handlers_;
  std::vector<std::function<void(uint64_t)>> closed_handlers_;
};

}  // namespace larder::control
