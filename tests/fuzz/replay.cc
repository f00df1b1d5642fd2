// Runs a fuzz target without a fuzzer: replay CORPUS_DIR gives it every file there and some
// mutations of each, always the same; replay --write CORPUS_DIR makes the corpus.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/log.h"
#include "base/random.h"
#include "fuzz/target.h"

namespace {

namespace fs = std::filesystem;

int write_corpus(const fs::path& directory) {
  fs::create_directories(directory);
  size_t number = 0;
  for (const std::string& seed : larder::fuzz::seeds())
    std::ofstream(directory / ("seed-" + std::to_string(number++)), std::ios::binary) << seed;
  return number == 0 ? 1 : 0;
}

// A few bits, bytes, cuts and repetitions.
std::string mutated(std::string bytes, larder::Random& random) {
  for (uint64_t left = 1 + random.below(4); left > 0 && !bytes.empty(); --left) {
    const size_t at = random.below(bytes.size());
    switch (random.below(5)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random.below(8));
        break;
      case 1:
        bytes[at] = static_cast<char>(random.below(256));
        break;
      case 2:
        bytes.resize(at);
        break;
      case 3:
        bytes.insert(at, bytes.substr(at, random.below(16)));
        break;
      default:
        bytes.replace(at, 4, random.one_in(2) ? 4 : 3, '\xff');
    }
  }
  return bytes;
}

int replay(const fs::path& directory, int mutations) {
  larder::Random random(1);
  int files = 0;
  for (const auto& entry : fs::directory_iterator(directory)) {
    std::stringstream text;
    text << std::ifstream(entry.path(), std::ios::binary).rdbuf();
    larder::fuzz::run(text.str());
    for (int i = 0; i < mutations; ++i) larder::fuzz::run(mutated(text.str(), random));
    ++files;
  }
  std::printf("%d files, %d mutations of each\n", files, mutations);
  return files == 0 ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  larder::log::set_level(larder::log::Level::kError);
  const std::string first = argc > 1 ? argv[1] : "";
  if (argc == 3 && first == "--write") return write_corpus(argv[2]);
  if (argc == 3) return replay(first, std::atoi(argv[2]));
  std::fprintf(stderr, "usage: replay CORPUS_DIR MUTATIONS | --write CORPUS_DIR\n");
  return 2;
}
