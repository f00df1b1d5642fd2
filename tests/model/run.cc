#include "model/run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <thread>

#include "base/checksum.h"
#include "model/tree.h"
#include "model/world.h"
#include "support/larder_mount.h"

namespace larder::model {
namespace {

using testing_support::LarderMount;

constexpr uint64_t kMiB = 1 << 20;

// Two directories, gone at the end of the scope.
class Directories {
 public:
  Directories() {
    std::string pattern = std::filesystem::temp_directory_path().string() + "/larder-model-XXXXXX";
    if (mkdtemp(pattern.data()) == nullptr) return;
    home_ = std::filesystem::canonical(pattern).string();
    for (const std::string& path : {plain(), source()}) mkdir(path.c_str(), 0755);
    chmod(home_.c_str(), 0755);
  }
  ~Directories() {
    std::error_code ignored;
    if (!home_.empty()) std::filesystem::remove_all(home_, ignored);
  }
  Directories(const Directories&) = delete;
  Directories& operator=(const Directories&) = delete;
  std::string plain() const { return home_ + "/plain"; }
  std::string source() const { return home_ + "/source"; }

 private:
  std::string home_;
};

// Readers that keep the mount busy.  What they get is not looked at (it changes all the time), but
// no file that is there may be unreadable.
class Noise {
 public:
  Noise(unsigned threads, const std::string& root) {
    for (unsigned i = 0; i < threads; ++i)
      threads_.emplace_back([this, i, root] { work(i, root); });
  }
  ~Noise() { stop(); }
  Noise(const Noise&) = delete;
  Noise& operator=(const Noise&) = delete;
  void stop() {
    stopping_.store(true);
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  int error() const { return error_.load(); }
  const char* call() const { return call_.load(); }

 private:
  void work(unsigned number, const std::string& root) {
    Random random(number + 1);
    const std::array<std::string, 6> names = {"/f0", "/f1", "/f2", "/f3", "/a/f0", "/a/b/f1"};
    std::string buffer(300'000, '\0');
    while (!stopping_.load()) {
      const std::string path = root + names[random.below(names.size())];
      const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
      note(fd, "open");
      if (fd < 0) continue;
      for (int i = 0; i < 4; ++i) {
        struct stat status;
        note(fstat(fd, &status), "fstat");
        const auto at = static_cast<off_t>(random.below(2 * kMiB) & ~random.below(4096));
        const size_t length = 1 + random.below(buffer.size() - 1);
        if (S_ISREG(status.st_mode)) note(pread(fd, buffer.data(), length, at), "pread");
      }
      ::close(fd);
    }
  }
  void note(ssize_t result, const char* call) {
    if (result >= 0 || (errno != EIO && errno != ESTALE && errno != ENOMEM)) return;
    error_.store(errno);
    call_.store(call);
  }
  std::atomic<bool> stopping_{false};
  std::atomic<int> error_{0};
  std::atomic<const char*> call_{""};
  std::vector<std::thread> threads_;
};

class Runner {
 public:
  explicit Runner(const Setup& setup)
      : setup_(setup),
        plain_(directories_.plain()),
        source_(directories_.source()),
        mount_(directories_.source(), setup.options),
        mounted_(mount_.mountpoint()) {}

  Mounted run(const std::vector<Operation>& operations) {
    Mounted result;
    if (!mount_.mounted()) {
      result.problem = mount_.problem();
      return result;
    }
    restart_noise();
    for (size_t i = 0; i < operations.size() && !result.failure; ++i) {
      std::string wrong = step(operations[i]);
      const bool last = i + 1 == operations.size();
      if (wrong.empty() && (last || (i + 1) % setup_.compare_every == 0)) wrong = compare_trees();
      if (!wrong.empty()) result.failure = Failure{i, std::move(wrong)};
    }
    end_noise();
    mounted_.close_all();
    // A sanitizer may have the last word.
    if (const int code = mount_.stop(); code != 0 && !result.failure)
      result.failure = Failure{operations.size() - 1, fmt::format("larder ended with {}", code)};
    result.log = mount_.log();
    return result;
  }

 private:
  std::string step(const Operation& operation) {
    if (operation.kind == Kind::kRemount || operation.kind == Kind::kKill)
      return restart(operation.kind == Kind::kKill);
    if (operation.outside) {
      plain_.close_all();
      mounted_.close_all();
    }
    const Outcome expected = plain_.apply(operation);
    const Outcome got = (operation.outside ? source_ : mounted_).apply(operation);
    if (!(got == expected))
      return fmt::format("the plain directory says {}, {} {}", describe(expected),
                         operation.outside ? "the source" : "the mount", describe(got));
    if (noise_ && noise_->error() != 0)
      return fmt::format("a reader got {} from {}", std::strerror(noise_->error()), noise_->call());
    if (std::string wrong = compare_touched(operation); !wrong.empty()) return wrong;
    return {};
  }

  std::string restart(bool kill) {
    end_noise();
    plain_.close_all();
    mounted_.close_all();
    if (kill)
      mount_.kill();
    else if (const int code = mount_.stop(); code != 0)
      return fmt::format("larder ended with {}: {}", code, mount_.log());
    if (!mount_.start()) return mount_.problem();
    restart_noise();
    return {};
  }

  void restart_noise() {
    if (setup_.noise != 0) noise_.emplace(setup_.noise, mount_.mountpoint());
  }
  void end_noise() { noise_.reset(); }

  std::string compare_touched(const Operation& operation) {
    for (const std::string& name : {operation.path, operation.other}) {
      const Outcome expected = attributes(plain_.root() + "/" + name, false);
      const Outcome got = attributes(mounted_.root() + "/" + name, false);
      if (!(expected == got))
        return fmt::format("'{}' should be {}, but is {}", name, describe(expected), describe(got));
    }
    for (uint32_t slot = 0; slot < kHandleSlots; ++slot) {
      if (plain_.handle(slot) < 0) continue;
      const Outcome expected = attributes(plain_.handle(slot), false);
      const Outcome got = attributes(mounted_.handle(slot), false);
      if (!(expected == got))
        return fmt::format("#{} should be {}, but is {}", slot, describe(expected), describe(got));
    }
    return {};
  }

  std::string compare_trees() {
    std::string wrong = compare(plain_.root(), mounted_.root(), {.xattrs = true});
    if (wrong.empty())
      wrong = compare(source_.root(), mounted_.root(), {.times = true, .is_mount = true});
    if (!wrong.empty()) return wrong;
    // Every open handle reads what the other reads.
    for (uint32_t slot = 0; slot < kHandleSlots; ++slot) {
      Operation reading;
      reading.kind = Kind::kRead;
      reading.handle = slot;
      reading.length = 2 * setup_.shape.file_bytes_max;
      const Outcome expected = plain_.apply(reading);
      const Outcome got = mounted_.apply(reading);
      if (!(expected == got))
        return fmt::format("#{} should read {}, but reads {}{}", slot, describe(expected),
                           describe(got), first_difference(expected.data, got.data));
    }
    return {};
  }

  const Setup& setup_;
  Directories directories_;
  World plain_;
  World source_;
  LarderMount mount_;
  World mounted_;
  std::optional<Noise> noise_;
};

}  // namespace

Setup make_setup(uint64_t seed) {
  Random random(mix64(seed) ^ 0x5e70);
  Setup setup;
  const auto choose = [&](auto... values) {
    const std::array<std::string, sizeof...(values)> all = {values...};
    setup.options.push_back(all[random.below(all.size())]);
  };
  const uint64_t block = std::array<uint64_t, 3>{4 << 10, 128 << 10, kMiB}[random.below(3)];
  setup.shape.block_bytes = block;
  setup.shape.file_bytes_max = block == kMiB ? 3 * kMiB : 600 << 10;
  setup.options.push_back(fmt::format("block_size={}K", block >> 10));
  choose("passthrough=auto", "passthrough=auto", "passthrough=off");
  choose("io=uring", "io=threads");
  choose("memory=0", "memory=1M", "memory=64M");
  choose("size=16M", "size=1G");
  choose("readahead=0", "readahead=16M");
  setup.options.push_back("commit_interval=20ms");
  // Either nobody else changes the source, and everything is believed for long, or others do, and
  // nothing is believed.
  if (random.one_in(3)) {
    setup.options.push_back("profile=private");
  } else {
    setup.shape.outside = true;
    for (const char* option : {"profile=shared", "attr_ttl=0ms", "negative_ttl=0ms"})
      setup.options.emplace_back(option);
  }
  return setup;
}

Mounted run(const Setup& setup, const std::vector<Operation>& operations) {
  return Runner(setup).run(operations);
}

Trial make_trial(uint64_t seed, size_t count, unsigned noise) {
  Setup setup = make_setup(seed);
  setup.noise = noise;
  const auto operations = make_operations(seed, count, setup.shape);
  Trial trial{.setup = fmt::format("{}; noise: {}", fmt::join(setup.options, ","), noise)};
  for (const Operation& operation : operations) trial.operations.push_back(describe(operation));
  trial.run = [setup, operations](const std::vector<size_t>& chosen, bool eager) {
    Setup used = setup;
    if (eager) used.compare_every = std::max<size_t>(1, setup.compare_every / 4);
    std::vector<Operation> some;
    for (const size_t i : chosen) some.push_back(operations[i]);
    return run(used, some);
  };
  return trial;
}

}  // namespace larder::model
