#include "kill/load.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <shared_mutex>

#include "model/tree.h"
#include "support/files.h"

namespace larder::kill {
namespace {

using testing_support::Descriptor;
using testing_support::FileContent;
using testing_support::read_at;
using testing_support::read_file;

// Of pwrite in one call; 0 or an errno.
int write_all(int fd, std::string_view data, uint64_t offset) {
  while (!data.empty()) {
    const ssize_t written = pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    data.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return 0;
}

int checked(int result) {
  return result == 0 ? 0 : errno;
}

// What it will be is noted before it is begun.
void begin(Slot& slot, const char* change, std::optional<Content> becoming,
           Slot::Doubt doubt = Slot::Doubt::kWhole) {
  slot.last_change = change;
  if (!becoming || !slot.content) slot.number = 0;  // it goes, or another one comes
  slot.doubt = doubt;
  slot.becoming = std::move(becoming);
}
void done(Slot& slot) {
  slot.doubt = Slot::Doubt::kNone;
  slot.content = std::move(slot.becoming);
  slot.becoming.reset();
}

}  // namespace

Load::Load(KnownTree& tree, LoadOptions options, uint64_t seed)
    : tree_(tree), options_(std::move(options)) {
  Random seeds(seed);
  running_ = options_.readers + options_.writers + options_.outsiders;
  const auto start = [&](unsigned count, Act act) {
    for (unsigned i = 0; i < count; ++i)
      threads_.emplace_back([this, act, own = seeds.next()] { work(act, own); });
  };
  start(options_.readers, &Load::read);
  start(options_.writers, &Load::write);
  start(options_.outsiders, &Load::change_outside);
}

void Load::join() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void Load::work(Act act, uint64_t seed) {
  Random random(seed);
  for (unsigned i = 0; i < options_.operations && !over_; ++i) {
    (this->*act)(random);
    if (++done_ == options_.kill_at) kill_daemon();
  }
  if (--running_ == 0 && options_.kill_at_the_end) kill_daemon();
}

void Load::kill_daemon() const {
  syscall(SYS_pidfd_send_signal, options_.daemon_fd, SIGKILL, nullptr, 0);
}

void Load::fail(const std::string& what) {
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = what;
  over_ = true;
}

bool Load::is_cut_off(int error, const std::string& doing) {
  struct statx root{};
  const bool alive = testing_support::forced_stat(options_.mount, &root) == 0;
  if (alive || (error != ENOTCONN && error != ECONNABORTED && error != EIO && error != EINTR)) {
    fail(fmt::format("{}: {}, with the daemon {}", doing, std::strerror(error),
                     alive ? "alive" : "killed"));
    return false;
  }
  ++cut_off_;
  over_ = true;
  return true;
}

void Load::check_whole(const Slot& slot) {
  const FileContent got = read_file(at(slot));
  if (got.error != 0)
    is_cut_off(got.error, fmt::format("reading '{}'", slot.name));
  else if (got.data != slot.content->data)
    fail(fmt::format("'{}' is read wrong: {} bytes of {}{} (last {})", slot.name, got.data.size(),
                     slot.content->data.size(),
                     model::first_difference(slot.content->data, got.data), slot.last_change));
}

void Load::read(Random& random) {
  Slot& slot = tree_.any_slot(random);
  const std::shared_lock lock(slot.mutex);
  if (slot.in_doubt()) return;
  if (!slot.content) {
    const int error = testing_support::stat_error(at(slot));
    if (error == 0)
      fail(fmt::format("'{}' is there, but should not be", slot.name));
    else if (error != ENOENT)
      is_cut_off(error, fmt::format("looking for '{}'", slot.name));
    return;
  }
  if (random.one_in(2)) return check_whole(slot);
  const std::string& data = slot.content->data;
  const Descriptor file(at(slot), O_RDONLY);
  if (!file.valid()) {
    is_cut_off(file.error(), fmt::format("opening '{}'", slot.name));
    return;
  }
  if (random.one_in(2)) testing_support::drop_pages(file.get());
  for (int i = 0; i < 8 && !over_; ++i) {
    const size_t offset = random.below(data.size() + 1);
    const size_t length = random.one_in(3) ? random.below(1 << 20) : random.below(9000);
    const FileContent got = read_at(file.get(), offset, length);
    const std::string doing =
        fmt::format("reading {} bytes of '{}' from {}", length, slot.name, offset);
    if (got.error != 0) {
      is_cut_off(got.error, doing);
      return;
    }
    const std::string expected = data.substr(offset, length);
    if (got.data != expected)
      return fail(fmt::format("{} gives {} of {} bytes{} (last {})", doing, got.data.size(),
                              expected.size(), model::first_difference(expected, got.data),
                              slot.last_change));
  }
}

void Load::write(Random& random) {
  Slot& slot = tree_.any_slot(random);
  if (random.one_in(10)) {
    Slot& to = tree_.any_slot(random);
    if (&to == &slot) return;
    const std::scoped_lock both(slot.mutex, to.mutex);
    if (slot.content && !slot.in_doubt() && !to.in_doubt()) move(slot, to);
    return;
  }
  const std::unique_lock lock(slot.mutex);
  if (slot.in_doubt()) return;
  if (!slot.content) return create(slot, random);
  if (random.one_in(12)) return remove(slot);
  change_file(slot, random);
  if (!slot.in_doubt() && !over_ && random.one_in(2)) check_whole(slot);
}

void Load::create(Slot& slot, Random& random) {
  const Content content{fresh_data(random, tree_.likely_size(random)), 0600};
  begin(slot, "made", content, Slot::Doubt::kHalfway);
  int error = 0;
  {
    const Descriptor file(at(slot), O_WRONLY | O_CREAT | O_EXCL, 0600);
    error = file.valid() ? write_all(file.get(), content.data, 0) : file.error();
    if (error == 0 && random.one_in(2)) error = checked(fsync(file.get()));
  }
  if (error != 0) {
    is_cut_off(error, fmt::format("making '{}'", slot.name));
    return;
  }
  done(slot);
}

void Load::change_file(Slot& slot, Random& random) {
  Content after = *slot.content;
  const uint64_t way = random.below(5);
  if (way == 0) {
    after.mode = after.mode == 0600 ? 0644 : 0600;
    begin(slot, "chmod", after);
    if (const int error = checked(chmod(at(slot).c_str(), after.mode))) {
      is_cut_off(error, fmt::format("chmod of '{}'", slot.name));
      return;
    }
    return done(slot);
  }
  const bool append = way == 1;
  const Descriptor file(at(slot), (random.one_in(2) ? O_RDWR : O_WRONLY) | (append ? O_APPEND : 0));
  if (!file.valid()) {
    is_cut_off(file.error(), fmt::format("opening '{}' for writing", slot.name));
    return;
  }
  int error = 0;
  if (way == 2) {
    after.data.resize(random.below(after.data.size() * 2 + 1));
    begin(slot, "truncated", after, Slot::Doubt::kHalfway);
    error = checked(ftruncate(file.get(), static_cast<off_t>(after.data.size())));
  } else {
    const size_t offset = append ? after.data.size() : random.below(after.data.size() + 1);
    const std::string data = fresh_data(random, tree_.likely_size(random) / 4);
    if (after.data.size() < offset + data.size()) after.data.resize(offset + data.size());
    after.data.replace(offset, data.size(), data);
    begin(slot, append ? "appended to" : "written", after, Slot::Doubt::kHalfway);
    error = write_all(file.get(), data, offset);
  }
  if (error == 0 && random.one_in(2)) error = checked(fsync(file.get()));
  if (error != 0) {
    is_cut_off(error, fmt::format("writing to '{}'", slot.name));
    return;
  }
  done(slot);
}

void Load::remove(Slot& slot) {
  begin(slot, "removed", std::nullopt);
  if (const int error = checked(unlink(at(slot).c_str()))) {
    is_cut_off(error, fmt::format("removing '{}'", slot.name));
    return;
  }
  done(slot);
}

void Load::move(Slot& from, Slot& to) {
  begin(to, "moved here", from.content);
  to.number = 0;
  begin(from, "moved away", std::nullopt);
  if (const int error = checked(rename(at(from).c_str(), at(to).c_str()))) {
    is_cut_off(error, fmt::format("renaming '{}' to '{}'", from.name, to.name));
    return;
  }
  done(from);
  done(to);
}

// Not of names: the mount may believe an old answer about these for a while.
void Load::change_outside(Random& random) {
  Slot& slot = tree_.any_slot(random);
  const std::unique_lock lock(slot.mutex);
  if (!slot.content || slot.in_doubt() || !random.one_in(4)) return;
  const bool same_size = random.one_in(2);
  slot.last_change = "rewritten on the source";
  slot.number = 0;
  slot.content->data =
      fresh_data(random, same_size ? slot.content->data.size() : tree_.likely_size(random));
  if (const int error = rewrite(options_.directory + "/" + slot.name, *slot.content, random))
    fail(fmt::format("changing '{}' on the source: {}", slot.name, std::strerror(error)));
}

}  // namespace larder::kill
