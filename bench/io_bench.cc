// Random 4 KiB reads of one file through a reactor: io_uring against threads.
//
//   io_bench DIRECTORY [SIZE_MIB]
//
// Makes DIRECTORY/io_bench.data (1 GiB) and removes it at the end.  Rounds of the engines
// alternate, so that a change of the machine's load meets both; the median round counts.  "cold":
// the file's pages are dropped before each round; "hot": all of it is in the page cache.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <future>
#include <string>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "io/posix_disk.h"
#include "io/reactor.h"
#include "io/when_all.h"

namespace larder::io {
namespace {

constexpr size_t kBlockBytes = 4096;
constexpr uint32_t kDepth = 32;
constexpr int kRounds = 7;
constexpr uint64_t kReadsCold = 20'000;
constexpr uint64_t kReadsHot = 200'000;

struct Contender {
  std::string name;
  ReactorOptions options;
  std::vector<double> reads_per_s = {};
  std::vector<double> cpu_us_per_read = {};
};

struct Work {
  Reactor* reactor;
  File* file;
  Random random;
  uint64_t blocks;
  uint64_t reads_left;
};

Task<void> read_randomly(Work* work) {
  std::vector<std::byte> buffer(kBlockBytes);
  while (work->reads_left > 0) {
    --work->reads_left;
    const uint64_t offset = work->random.below(work->blocks) * kBlockBytes;
    const Result<size_t> n = co_await work->reactor->read(*work->file, buffer, offset);
    CHECK(n && *n == kBlockBytes);
  }
}

Task<void> read_at_depth(Work* work, std::promise<void>* done) {
  TaskGroup group;
  for (uint32_t i = 0; i < kDepth; ++i) group.add(read_randomly(work));
  co_await group.wait();
  done->set_value();
}

// User and system time of all threads, the kernel's workers for this process included.
double cpu_us() {
  rusage usage{};
  CHECK(::getrusage(RUSAGE_SELF, &usage) == 0);
  const auto us = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
  };
  return us(usage.ru_utime) + us(usage.ru_stime);
}

void run_round(Contender& contender, File& file, uint64_t size_bytes, uint64_t reads, int round) {
  Registry registry;
  const auto reactor = Reactor::start(contender.options, registry);
  if (!reactor) {
    fmt::print("{}: {}\n", contender.name, reactor.error().message());
    std::exit(1);
  }
  Work work{reactor->get(), &file, Random(static_cast<uint64_t>(round)), size_bytes / kBlockBytes,
            reads};
  std::promise<void> done;
  const double cpu_before_us = cpu_us();
  const Nanos before = Clock::system().monotonic();
  (*reactor)->spawn(read_at_depth(&work, &done));
  done.get_future().wait();
  const double seconds =
      std::chrono::duration<double>(Clock::system().monotonic() - before).count();
  (*reactor)->stop();
  contender.reads_per_s.push_back(static_cast<double>(reads) / seconds);
  contender.cpu_us_per_read.push_back((cpu_us() - cpu_before_us) / static_cast<double>(reads));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void compare(const char* title, File& file, uint64_t size_bytes, bool cold) {
  const auto options = [](EngineKind engine, uint32_t threads_max) {
    return ReactorOptions{
        .engine = engine, .depth_max = kDepth, .threads_max = threads_max, .name = "bench"};
  };
  std::vector<Contender> contenders = {
      {"io_uring", options(EngineKind::kUring, 16)},
      {"16 threads", options(EngineKind::kThreads, 16)},
      {"32 threads", options(EngineKind::kThreads, 32)},
  };
  for (int round = 0; round < kRounds; ++round) {
    for (Contender& contender : contenders) {
      if (cold) CHECK(::posix_fadvise(file.fd(), 0, 0, POSIX_FADV_DONTNEED) == 0);
      run_round(contender, file, size_bytes, cold ? kReadsCold : kReadsHot, round);
    }
  }
  const double ring_rate = median(contenders.front().reads_per_s);
  fmt::print("{}, random 4 KiB, depth {}, median of {} rounds\n", title, kDepth, kRounds);
  for (const Contender& contender : contenders) {
    fmt::print("  {:<12}{:>10.0f} reads/s{:>8.2f} us of CPU a read   io_uring is {:.2f} x\n",
               contender.name, median(contender.reads_per_s), median(contender.cpu_us_per_read),
               ring_rate / median(contender.reads_per_s));
  }
}

void fill(File& file, uint64_t size_bytes) {
  std::vector<std::byte> chunk(1 << 20);
  Random random(1);
  for (uint64_t offset = 0; offset < size_bytes; offset += chunk.size()) {
    for (size_t i = 0; i < chunk.size(); i += kBlockBytes)
      chunk[i] = static_cast<std::byte>(random.next());
    CHECK(file.write_at(chunk, offset));
  }
  CHECK(file.sync_data());
}

int run(const std::string& directory, uint64_t size_bytes) {
  const auto disk = open_posix_disk(directory);
  if (!disk) {
    fmt::print("{}\n", disk.error().message());
    return 1;
  }
  const std::string name = "io_bench.data";
  const auto file = (*disk)->open(name, OpenMode::kCreate);
  CHECK(file);
  fill(**file, size_bytes);
  CHECK(::posix_fadvise((*file)->fd(), 0, 0, POSIX_FADV_RANDOM) == 0);
  compare("cold", **file, size_bytes, true);
  std::vector<std::byte> chunk(1 << 20);
  for (uint64_t offset = 0; offset < size_bytes; offset += chunk.size())
    CHECK((*file)->read_at(chunk, offset));
  compare("hot", **file, size_bytes, false);
  CHECK((*disk)->remove(name));
  return 0;
}

}  // namespace
}  // namespace larder::io

int main(int argc, char** argv) {
  if (argc < 2) {
    fmt::print("usage: io_bench DIRECTORY [SIZE_MIB]\n");
    return 2;
  }
  const uint64_t size_mib = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1024;
  return larder::io::run(argv[1], std::max<uint64_t>(size_mib, 1) << 20);
}
