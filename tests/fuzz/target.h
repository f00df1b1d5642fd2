// A fuzz target: one decoder, or a few that belong together.  Each file *_target.cc implements
// these two; libfuzzer.cc drives it under clang, replay.cc as a plain test.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace larder::fuzz {

// Decodes the bytes in every way and checks what must hold (base/check.h).
void run(std::string_view input);
// What the corpus in the tree is made of: small valid inputs, each of another kind.
std::vector<std::string> seeds();

}  // namespace larder::fuzz
