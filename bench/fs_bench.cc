// What a request of the kernel costs in fs/ when it is answered on its worker: without FUSE, over a
// source in memory, with the system's clock.  The cache is below $LARDER_BENCH_DIR, or else
// /var/tmp.
#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <fmt/format.h>

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/check.h"
#include "base/random.h"
#include "fs/cached_file_system.h"
#include "scratch_disk.h"
#include "support/cache_stack.h"
#include "support/fake_kernel.h"
#include "support/fake_source.h"

namespace larder::fs {
namespace {

constexpr uint64_t kDirectories = 20;
constexpr uint64_t kFilesEach = 200;
constexpr uint64_t kFileBytes = 4096;
constexpr KernelId kRoot = KernelId::make(kRootNode.value, 0);

struct File {
  KernelId parent;
  std::string name;
  KernelId id;
  uint64_t handle = 0;  // open, not in passthrough
};

// A mount of files that are all looked up, cached and in the memory tier.
class Mount {
 public:
  Mount() : source_(Clock::system()) {
    for (uint64_t d = 0; d < kDirectories; ++d)
      for (uint64_t f = 0; f < kFilesEach; ++f)
        source_.put(fmt::format("directory-{}/some-file-{:04}.txt", d, f),
                    std::string(kFileBytes, 'x'));
    // What has just been changed is not kept when it is looked at again.
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    files_ = std::make_unique<CachedFileSystem>(
        *stack_.environment, source_, stack_.reactors(),
        CoherenceOptions{std::chrono::hours(1), std::chrono::hours(1), false}, stack_.registry);
    stack_.residents->set_evict(
        [this](NodeId node, uint64_t wanted) { return files_->evict(node, wanted); });
    stack_.residents->end_census();  // as when a mount has run for a while
    files_->attach(kernel_);
    CHECK(run(files_->load_root()));
    for (uint64_t d = 0; d < kDirectories; ++d) {
      const KernelId directory = look_up(kRoot, fmt::format("directory-{}", d));
      look_up(directory, kMissing);
      for (uint64_t f = 0; f < kFilesEach; ++f)
        add(directory, fmt::format("some-file-{:04}.txt", f));
    }
    stack_.settle();
    kernel_.set_passthrough(true);
  }
  ~Mount() {
    for (const File& file : all_) close(file.handle);
    stack_.settle();
    stack_.stop();
    files_->shut_down();
  }
  Mount(const Mount&) = delete;
  Mount& operator=(const Mount&) = delete;

  CachedFileSystem& files() { return *files_; }
  // One of the first `of` files.
  const File& any(Random& random, int64_t of) const {
    return all_[random.below(static_cast<uint64_t>(of))];
  }

  static constexpr const char* kMissing = "no-file-of-that-name";

 private:
  template <class T>
  T run(io::Task<T> task) {
    return testing::start_on(files_->home(kRoot), std::move(task)).get();
  }
  KernelId look_up(KernelId parent, const std::string& name) {
    const auto reply = run(files_->lookup(parent, name, 1));
    CHECK(reply.has_value());
    return reply->id;
  }
  void add(KernelId directory, const std::string& name) {
    const KernelId id = look_up(directory, name);
    const auto opened = run(files_->open(id, O_RDONLY, 1));
    CHECK(opened && run(files_->read(opened->handle, 0, kFileBytes)));
    all_.push_back({directory, name, id, opened->handle});
  }
  void close(uint64_t handle) {
    if (!files_->release_hit(handle)) run(files_->release(handle));
  }

  bench::ScratchDisk scratch_;
  testing::FakeSource source_;
  testing::FakeKernel kernel_;
  testing::CacheStack stack_{scratch_.disk(), Clock::system(), {.memory_bytes = 48 << 20}};
  std::unique_ptr<CachedFileSystem> files_;
  std::vector<File> all_;
};

// Files that stay in the processor's own caches, and more than these hold.
void hot_and_many(benchmark::internal::Benchmark* bench) {
  bench->ArgName("files")->Arg(16)->Arg(kDirectories * kFilesEach);
}

std::unique_ptr<Mount> the_mount;  // made and taken down by main()

void attribute_hit(benchmark::State& state) {
  Mount& mount = *the_mount;
  Random random(static_cast<uint64_t>(state.thread_index()));
  for (auto _ : state) {
    const auto hit = mount.files().attributes_hit(mount.any(random, state.range(0)).id);
    if (!hit) state.SkipWithError("not a hit");
    benchmark::DoNotOptimize(hit);
  }
}
BENCHMARK(attribute_hit)->Apply(hot_and_many)->Threads(1)->Threads(2)->UseRealTime();

// With the forget that the kernel owes for it.
void lookup_hit(benchmark::State& state) {
  Mount& mount = *the_mount;
  Random random(static_cast<uint64_t>(state.thread_index()));
  for (auto _ : state) {
    const File& file = mount.any(random, state.range(0));
    const auto hit = mount.files().lookup_hit(file.parent, file.name, 1);
    if (!hit) state.SkipWithError("not a hit");
    mount.files().forget(file.id, 1);
  }
}
BENCHMARK(lookup_hit)->Apply(hot_and_many)->Threads(1)->Threads(2)->UseRealTime();

void lookup_hit_of_no_file(benchmark::State& state) {
  Mount& mount = *the_mount;
  Random random(static_cast<uint64_t>(state.thread_index()));
  for (auto _ : state) {
    const auto hit =
        mount.files().lookup_hit(mount.any(random, state.range(0)).parent, Mount::kMissing, 1);
    if (!hit) state.SkipWithError("not a hit");
    benchmark::DoNotOptimize(hit);
  }
}
BENCHMARK(lookup_hit_of_no_file)->Apply(hot_and_many);

void read_hit(benchmark::State& state) {
  Mount& mount = *the_mount;
  Random random(static_cast<uint64_t>(state.thread_index()));
  ReadReply reply;
  for (auto _ : state)
    if (!mount.files().read_hit(mount.any(random, state.range(0)).handle, 0, kFileBytes, reply))
      state.SkipWithError("not a hit");
}
BENCHMARK(read_hit)->Apply(hot_and_many)->Threads(1)->Threads(2)->UseRealTime();

void open_and_release_hit(benchmark::State& state) {
  Mount& mount = *the_mount;
  Random random(static_cast<uint64_t>(state.thread_index()));
  for (auto _ : state) {
    const auto hit = mount.files().open_hit(mount.any(random, state.range(0)).id, O_RDONLY, 1);
    if (!hit || !*hit || !mount.files().release_hit((*hit)->handle))
      state.SkipWithError("not a hit");
  }
}
BENCHMARK(open_and_release_hit)->Apply(hot_and_many);

}  // namespace
}  // namespace larder::fs

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  larder::fs::the_mount = std::make_unique<larder::fs::Mount>();
  benchmark::RunSpecifiedBenchmarks();
  larder::fs::the_mount.reset();
}
