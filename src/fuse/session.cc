// Order of the end: no mount in the tree, no worker, nobody waiting for a lock, no request under
// way, no notifier, no libfuse session.  Each step makes the next one finite.
#include "fuse/session.h"

#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "fs/locks.h"
#include "fuse/adapter.h"
#include "fuse/libfuse.h"
#include "fuse/mount_point.h"
#include "fuse/notifier.h"
#include "fuse/passthrough.h"
#include "fuse/virtual_tree.h"

namespace larder::fuse {
namespace {

constexpr Nanos kBusyRetry = std::chrono::milliseconds(50);
constexpr Nanos kWorkersEnd = std::chrono::seconds(1);
constexpr Nanos kKickEvery = std::chrono::milliseconds(10);

// A comma or backslash in a value must be escaped for libfuse's option parser.
std::string escaped(const std::string& value) {
  std::string result;
  for (const char c : value) {
    if (c == ',' || c == '\\') result += '\\';
    result += c;
  }
  return result;
}

std::string mount_options(const SessionOptions& options) {
  std::string text =
      "default_permissions,subtype=larder,max_read=1048576,fsname=" + escaped(options.source_name);
  if (options.allow_other) text += ",allow_other";
  if (options.read_only) text += ",ro";
  // Root's mounts behave as the source does.
  if (geteuid() == 0) text += ",dev,suid";
  for (const std::string& flag : options.mount_flags) text += "," + flag;  // later ones count
  return text;
}

fuse_session* new_session(const SessionOptions& options, Adapter& adapter) {
  std::string name = "larder";
  std::string flag = "-o";
  std::string text = mount_options(options);
  char* argv[] = {name.data(), flag.data(), text.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(3, argv);
  const fuse_lowlevel_ops& operations = Adapter::operations();
  fuse_session* session = fuse_session_new(&args, &operations, sizeof operations, &adapter);
  fuse_opt_free_args(&args);
  return session;
}

// What a read of the device comes to when the connection is gone, unmounted or aborted: libfuse
// takes ENODEV for an end (0), but requests that were still in the queue make it ECONNABORTED.
bool is_end(int error) {
  return error == 0 || error == ENODEV || error == ECONNABORTED;
}

// Workers take no signals: those are the main thread's.
void block_signals() {
  sigset_t all;
  sigfillset(&all);
  sigdelset(&all, SIGURG);  // see kick_workers
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace

struct Session::Parts {
  Passthrough passthrough;
  fs::LockTable locks{};
  VirtualTree virtual_tree;
  Adapter adapter;
  fuse_session* session = nullptr;
  bool attached = false;  // fuse_session_mount() has succeeded
  MountPoint mount{};
  std::unique_ptr<Notifier> notifier{};

  Parts(const SessionOptions& options, fs::FileSystem& files,
        const fs::VirtualDirectory* virtual_directory, buffer::Pool& pool, Registry& registry,
        const Clock& clock)
      : passthrough(options.passthrough),
        virtual_tree(virtual_directory, geteuid(), getegid(), clock),
        adapter(files, pool, clock, passthrough, virtual_tree, locks, registry) {}
};

Session::Session(const SessionOptions& options, const Clock& clock)
    : options_(options), clock_(clock) {}

Result<std::unique_ptr<Session>> Session::mount(const SessionOptions& options,
                                                fs::FileSystem& files,
                                                const fs::VirtualDirectory* virtual_directory,
                                                buffer::Pool& pool, Registry& registry,
                                                const Clock& clock) {
  CHECK(options.workers >= 1);
  std::unique_ptr<Session> self(new Session(options, clock));
  self->parts_ = std::make_unique<Parts>(options, files, virtual_directory, pool, registry, clock);
  Parts& parts = *self->parts_;
  parts.session = new_session(options, parts.adapter);
  if (parts.session == nullptr) return fail(Code::kInvalid, "set up a FUSE session");
  if (fuse_session_mount(parts.session, options.mountpoint.c_str()) != 0)
    return fail(Code::kIo, "mount " + options.mountpoint);
  parts.attached = true;
  TRY_ASSIGN(parts.mount, MountPoint::find(options.mountpoint));
  TRY(parts.passthrough.attach(parts.session));
  if (options.readahead_bytes > 0)
    if (const auto set = parts.mount.set_readahead(options.readahead_bytes); !set)
      log::info("the kernel's readahead stays as it is: {}", set.error().message());
  parts.notifier = std::make_unique<Notifier>(parts.session, registry);
  files.attach(*self);
  return self;
}

Session::~Session() {
  end();
  if (parts_->attached) fuse_session_unmount(parts_->session);
  if (parts_->session != nullptr) fuse_session_destroy(parts_->session);
}

Result<void> Session::serve() {
  {
    MutexLock lock(mutex_);
    working_ = options_.workers;
  }
  for (uint32_t i = 0; i < options_.workers; ++i) workers_.emplace_back([this] { work(); });
  bool down = false;
  {
    MutexLock lock(mutex_);
    while (working_ == options_.workers && !stop_) changed_.wait(mutex_);
    down = working_ == 0;
  }
  if (!down) take_down();
  finish();
  MutexLock lock(mutex_);
  if (error_ != 0) {
    errno = error_;
    return fail_errno("read from /dev/fuse");
  }
  return {};
}

void Session::end() {
  if (!parts_->attached || std::exchange(ended_, true)) return;
  if (workers_.empty()) take_down();
  finish();
}

void Session::stop() {
  MutexLock lock(mutex_);
  stop_ = true;
  changed_.notify_all();
}

void Session::work() {
  block_signals();
  fuse_buf buffer{};
  int error = 0;
  while (fuse_session_exited(parts_->session) == 0) {
    const int got = fuse_session_receive_buf(parts_->session, &buffer);
    if (got == -EINTR || got == -EAGAIN || got == -ENOENT) continue;  // ENOENT: it was withdrawn
    if (got <= 0) {
      error = is_end(-got) ? 0 : -got;
      break;
    }
    options_.on_request();
    fuse_session_process_buf(parts_->session, &buffer);
  }
  std::free(buffer.mem);
  MutexLock lock(mutex_);
  if (error_ == 0) error_ = error;
  --working_;
  changed_.notify_all();
}

void Session::take_down() {
  const Nanos give_up = clock_.monotonic() + options_.busy_timeout;
  Result<void> unmounted = parts_->mount.unmount();
  while (!unmounted && unmounted.error().is(Code::kBusy) && clock_.monotonic() < give_up) {
    if (wait_for_workers(kBusyRetry)) break;
    unmounted = parts_->mount.unmount();
  }
  if (unmounted && wait_for_workers(kWorkersEnd)) return;
  if (!unmounted) log::warning("{} is in use; detaching it", options_.mountpoint);
  if (const auto torn = parts_->mount.tear_off(); !torn) log::error("{}", torn.error().message());
  // Still served: another mount namespace has a copy of the mount.
  if (!wait_for_workers(kWorkersEnd)) kick_workers();
}

bool Session::wait_for_workers(Nanos timeout) {
  const Nanos give_up = clock_.monotonic() + timeout;
  MutexLock lock(mutex_);
  while (working_ > 0) {
    const Nanos left = give_up - clock_.monotonic();
    if (left <= Nanos(0)) return false;
    changed_.wait_for(mutex_, left);
  }
  return true;
}

// Ends reads of the device that nothing else ends.  SIGURG is ignored by default, so a handler that
// does nothing changes nothing for the rest of the process.
void Session::kick_workers() {
  struct sigaction action{};
  action.sa_handler = [](int) {};
  struct sigaction before{};
  sigaction(SIGURG, &action, &before);
  fuse_session_exit(parts_->session);
  do {
    for (std::thread& worker : workers_) pthread_kill(worker.native_handle(), SIGURG);
  } while (!wait_for_workers(kKickEvery));
  sigaction(SIGURG, &before, nullptr);
}

void Session::finish() {
  for (std::thread& worker : workers_)
    if (worker.joinable()) worker.join();
  // Aborted from outside, the mount is still in the tree.
  if (parts_->mount.mounted())
    if (const auto torn = parts_->mount.tear_off(); !torn) log::error("{}", torn.error().message());
  parts_->locks.close();
  parts_->adapter.in_flight.wait_idle();
  if (parts_->notifier != nullptr) parts_->notifier->stop();
}

bool Session::passthrough_available() const {
  return parts_->passthrough.available();
}
Result<int32_t> Session::open_backing(int fd) {
  return parts_->passthrough.open_backing(fd);
}
void Session::close_backing(int32_t backing_id) {
  parts_->passthrough.close_backing(backing_id);
}
void Session::invalidate_attributes(fs::KernelId node) {
  parts_->notifier->invalidate_attributes(node);
}

void Session::invalidate_node(fs::KernelId node, std::function<void()> then) {
  parts_->notifier->invalidate_node(node, std::move(then));
}
void Session::expire_entry(fs::KernelId parent, std::string name) {
  parts_->notifier->expire_entry(parent, std::move(name));
}
void Session::expire_all_entries() {
  parts_->notifier->expire_all_entries();
}

}  // namespace larder::fuse
