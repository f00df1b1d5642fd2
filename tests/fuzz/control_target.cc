// The control file's command lines, and the replies to recording.
#include <algorithm>

#include "base/check.h"
#include "control/command.h"
#include "control/record.h"
#include "fuzz/target.h"

namespace larder::fuzz {

using namespace control;

void run(std::string_view input) {
  CHECK(decode_word(encode_word(input)) == input);
  if (const auto word = decode_word(input)) CHECK(decode_word(encode_word(*word)) == *word);
  CommandTable table;
  table.add("echo", [](const std::vector<std::string>& words) -> Result<std::string> {
    std::string text;
    for (const std::string& word : words) text += encode_word(word) + " ";
    return text;
  });
  table.add("refuse", [](const std::vector<std::string>& words) -> Result<std::string> {
    return fail(Code::kInvalid, words.empty() ? "" : words.front());
  });
  const std::string replies = table.run(input);
  CHECK(replies.empty() || replies.back() == '\n');
  if (const auto part = parse_record_read(input))
    CHECK(static_cast<uint64_t>(std::ranges::count(part->lines, ' ')) == 3 * part->accesses);
}

std::vector<std::string> seeds() {
  return {"help\n", "echo a%20b c\nrefuse x\n", "nonsense %zz\n\n", "echo %00%ff\n",
          "more 0 7 4096 1700000000 a%20b 7:3 131072 1700000001 -"};
}

}  // namespace larder::fuzz
