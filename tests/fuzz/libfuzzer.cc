#include <cstddef>
#include <cstdint>

#include "base/log.h"
#include "fuzz/target.h"

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  larder::log::set_level(larder::log::Level::kError);  // warnings of damage are not news here
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  larder::fuzz::run({reinterpret_cast<const char*>(data), size});
  return 0;
}
