// The composition root.  Members of Parts are in order of construction: each uses those above it
// and none below, so that they can be taken down in the opposite order.
#include "app/mount.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "app/cache_directory.h"
#include "app/cache_limits.h"
#include "app/descriptors.h"
#include "app/in_words.h"
#include "app/source_root.h"
#include "app/warm_commands.h"
#include "base/check.h"
#include "base/log.h"
#include "cache/activity.h"
#include "cache/audit.h"
#include "cache/census.h"
#include "cache/claims.h"
#include "cache/environment.h"
#include "cache/high_water.h"
#include "cache/janitor.h"
#include "cache/scrub.h"
#include "cache/trimmer.h"
#include "catalog/catalog.h"
#include "control/control_directory.h"
#include "control/housekeeping.h"
#include "control/record.h"
#include "control/warm.h"
#include "evict/registry.h"
#include "fs/cached_file_system.h"
#include "fs/warmer.h"
#include "fuse/session.h"
#include "io/completion.h"
#include "io/reactor.h"
#include "journal/store.h"
#include "source/source.h"

namespace larder::app {
namespace {

// Buffers beyond the memory tier: what is being fetched, written, and on its way to the kernel.
constexpr uint64_t kFetchBytesMax = 128 << 20;
constexpr uint64_t kTransitBytesMax = 512 << 20;
constexpr uint32_t kReactorsMax = 4;
// How long a stop waits for answers of the source.
constexpr Nanos kStopPatience = std::chrono::seconds(5);

io::EngineKind engine_of(IoChoice choice) {
  switch (choice) {
    case IoChoice::kAuto:
      return io::EngineKind::kAuto;
    case IoChoice::kUring:
      return io::EngineKind::kUring;
    case IoChoice::kThreads:
      return io::EngineKind::kThreads;
  }
  return io::EngineKind::kAuto;
}

uint32_t processors() {
  return std::max(1U, std::thread::hardware_concurrency());
}

fs::CoherenceOptions coherence_of(const Config& config) {
  fs::CoherenceOptions options;
  options.attributes_ttl = config.attr_ttl;
  options.negative_ttl = config.negative_ttl;
  options.revalidate_at_open = config.profile == Profile::kShared;
  return options;
}

class RunningMount final : public Mount {
 public:
  explicit RunningMount(const MountRequest& request) : request_(request) {}
  ~RunningMount() override;

  Result<void> build();
  Result<void> run() override;
  void request_stop() noexcept override;

 private:
  Result<void> open_store();
  Result<void> reckon_with_earlier_runs();
  Result<void> start_reactors();
  Result<void> load_root();
  void add_duties(control::CommandTable& commands);
  template <class Duty>
  void add_pass_commands(control::CommandTable& commands, const std::string& name, Duty& duty,
                         cache::Janitor::DutyId id);
  cache::Overhead overhead() const;
  void measure_metadata();
  std::unique_ptr<evict::Policy> make_disk_policy() const;
  control::MountFacts facts() const;

  const MountRequest request_;
  const Clock& clock_ = Clock::system();
  Registry registry_;
  std::unique_ptr<DescriptorLimit> descriptors_;
  std::unique_ptr<cache::OpenFiles> open_files_;
  std::unique_ptr<io::Disk> disk_;
  std::unique_ptr<journal::Store> store_;
  std::atomic<uint64_t> metadata_bytes_{0};
  std::atomic<uint64_t> metadata_headroom_bytes_{0};  // of directories that are still to be made
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<object::Objects> objects_;
  // Outlives this object when a hung thread still holds a buffer.
  buffer::Pool* pool_ = nullptr;
  std::unique_ptr<memory::BlockCache> memory_;
  std::unique_ptr<cache::Budget> budget_;
  std::unique_ptr<cache::HighWater> high_water_;
  std::unique_ptr<cache::Residents> residents_;
  std::unique_ptr<cache::MappedObjects> mapped_;
  std::unique_ptr<cache::Metrics> metrics_;
  std::unique_ptr<cache::Claims> claims_;
  cache::ChangeClock changes_;
  std::unique_ptr<io::AsyncSemaphore> fetch_bytes_;
  std::unique_ptr<source::Source> source_;
  std::vector<std::unique_ptr<io::Reactor>> reactors_;
  std::unique_ptr<cache::Environment> environment_;
  std::unique_ptr<fs::CachedFileSystem> files_;
  std::unique_ptr<fs::Warmer> warmer_;
  std::unique_ptr<WarmCommands> warm_commands_;
  cache::Activity activity_{clock_};
  std::unique_ptr<cache::Janitor> janitor_;
  std::unique_ptr<cache::Census> census_;
  std::unique_ptr<cache::Audit> audit_;
  std::unique_ptr<cache::Scrub> scrub_;
  std::unique_ptr<cache::Trimmer> trimmer_;
  std::unique_ptr<control::ControlDirectory> control_;
  std::unique_ptr<fuse::Session> session_;
  bool needs_audit_ = false;

  // A stop that a source that does not answer would hold up.
  void give_up_on_source();
  Mutex stop_mutex_;
  CondVar stop_changed_;
  bool served_ GUARDED_BY(stop_mutex_) = false;
  std::thread stopper_ GUARDED_BY(stop_mutex_);
};

io::Task<void> load_root_task(fs::CachedFileSystem* files, io::Completion<Result<void>> done) {
  io::Task<Result<void>> loading = files->load_root();
  Result<void> loaded = co_await std::move(loading);
  done.set(std::move(loaded));
}

io::Task<void> wait_task(io::Completion<Result<void>> done, Result<void>* result,
                         std::atomic<bool>* ready) {
  *result = co_await done;
  ready->store(true);
  ready->notify_all();
}

// `state`: what has become of it.
std::unexpected<Error> unusable(const std::string& cache_dir, const Error& error,
                                std::string_view state = "") {
  if (error.is(Code::kNewerFormat))
    return fail(error.code(),
                fmt::format("cache directory {} was made by a newer larder ({}){}; use that "
                            "version, or another directory with -o cache_dir=DIR",
                            cache_dir, error.detail(), state));
  const std::string advice =
      error.is(Code::kCorrupt)
          ? fmt::format(
                "; `larder check --repair {}` keeps what is good of it; if it may be lost, "
                "remove it and mount again",
                cache_dir)
          : "";
  // Of larder's own codes the detail says all; of the system's, the code says why.
  const std::string what = error.code() < Code::kFirstOwn ? error.message() : error.detail();
  return fail(error.code(), fmt::format("cache directory {} cannot be used: {}{}{}", cache_dir,
                                        what, state, advice));
}

Result<void> RunningMount::open_store() {
  const std::string& path = request_.config.cache_dir;
  TRY_ASSIGN(disk_, open_cache_directory(path, request_.source, LockWait::of_this_system()));
  TRY(check_source_root(*disk_, request_.source, path));
  TRY(in_words(finish_journal_exchange(*disk_)));
  TRY(in_words(disk_->make_directory(kJournalName)));
  TRY_ASSIGN(const io::SpaceInfo space, in_words(disk_->space()));
  journal::StoreOptions options;
  options.segment_bytes = segment_bytes_of(request_.config.size.resolve(space.total_bytes));
  options.checkpoint_after_bytes = 4 * options.segment_bytes;
  options.dead_share = request_.config.compact_at_percent / 100.0;
  options.uuid_salt =
      static_cast<uint64_t>(clock_.wall().count()) ^ static_cast<uint64_t>(getpid());
  auto store = journal::Store::open(*disk_, kJournalName, options, registry_, clock_);
  if (!store) return unusable(path, store.error(), "; nothing in it was changed");
  // Beside a new journal there should be none.
  ObjectId last_object;
  if ((*store)->recovery().is_new) {
    TRY_ASSIGN(last_object, in_words(object::Objects::last(*disk_)));
  }
  auto catalog = catalog::Catalog::open(**store, last_object);
  if (!catalog) return unusable(path, catalog.error());  // not closed: closing writes a checkpoint
  store_ = std::move(*store);
  catalog_ = std::move(*catalog);
  catalog_->set_limit_bytes(catalog_bytes_of(request_.config.size.resolve(space.total_bytes)));
  TRY(in_words(sign_lock(*disk_, request_.mountpoint)));
  TRY(in_words(remember_source_root(*disk_, request_.source)));
  const journal::RecoveryReport& recovery = store_->recovery();
  log::info("opened {}: {}, {} records replayed, {} torn bytes dropped", path,
            recovery.is_new  ? "new"
            : recovery.clean ? "closed cleanly"
                             : "not closed cleanly",
            recovery.records_replayed, recovery.tail_bytes_dropped);
  TRY_ASSIGN(objects_, in_words(object::Objects::open(*disk_, descriptors_.get())));
  measure_metadata();
  return {};
}

// What they left is counted by the census; until it is over, by what they noted.
Result<void> RunningMount::reckon_with_earlier_runs() {
  const journal::RecoveryReport& recovery = store_->recovery();
  const bool is_empty = recovery.is_new && catalog_->first_object() == ObjectId{1};
  TRY_ASSIGN(cache::HighWater noted, cache::HighWater::load(*catalog_, *budget_, is_empty));
  // Noted at once, as a mount that fails later on ends cleanly.
  if (recovery.is_new ? !is_empty : !recovery.clean) TRY(cache::Audit::owe(*catalog_));
  if (!recovery.clean) TRY(cache::Scrub::note_doubtful(*catalog_, recovery.replayed_from));
  TRY_ASSIGN(needs_audit_, cache::Audit::take_on(*catalog_));
  residents_->expect(noted.mark(), needs_audit_);
  high_water_ = std::make_unique<cache::HighWater>(std::move(noted));
  residents_->set_cover(
      [this](const cache::Budget::Amount& taken) { return high_water_->cover(taken); });
  return {};
}

Result<void> RunningMount::start_reactors() {
  const uint32_t count = std::clamp(processors(), 2U, kReactorsMax);
  for (uint32_t i = 0; i < count; ++i) {
    io::ReactorOptions options;
    options.engine = engine_of(request_.config.io);
    options.name = fmt::format("larder-io-{}", i);
    auto reactor = io::Reactor::start(options, registry_);
    if (!reactor)
      return fail(reactor.error().code(),
                  fmt::format("the kernel refuses io_uring here ({}); use -o io=auto or io=threads",
                              reactor.error().message()));
    reactors_.push_back(std::move(*reactor));
  }
  return {};
}

Result<void> RunningMount::load_root() {
  io::Completion<Result<void>> done;
  Result<void> result;
  std::atomic<bool> ready{false};
  reactors_[0]->spawn(load_root_task(files_.get(), done));
  reactors_[0]->spawn(wait_task(done, &result, &ready));
  ready.wait(false);
  if (!result)
    return fail(
        result.error().code(),
        fmt::format("SOURCE {} does not answer, and there is no cache of it to serve; bring it "
                    "back first ({})",
                    request_.source, result.error().message()));
  return result;
}

control::MountFacts RunningMount::facts() const {
  control::MountFacts facts;
  facts.version = LARDER_VERSION;
  facts.pid = getpid();
  facts.source = request_.source;
  facts.mountpoint = request_.mountpoint;
  facts.cache_dir = request_.config.cache_dir;
  facts.control_dir = request_.config.control_dir;
  facts.engine = reactors_[0]->engine() == io::EngineKind::kUring ? "uring" : "threads";
  facts.passthrough = [this] {
    if (request_.config.passthrough == Passthrough::kOff) return "off (passthrough=off)";
    return session_ && session_->passthrough_available() ? "on" : "off (kernel or privileges)";
  };
  facts.started = clock_.monotonic();
  return facts;
}

Result<void> RunningMount::build() {
  const Config& config = request_.config;
  const uint64_t allowed = descriptors_allowed();
  TRY_ASSIGN(const uint64_t for_files, descriptors_for_files(config, allowed));
  limit_descriptors(config, allowed);
  descriptors_ = std::make_unique<DescriptorLimit>(for_files, registry_);
  open_files_ = std::make_unique<cache::OpenFiles>(*descriptors_, registry_);
  TRY(open_store());
  TRY_ASSIGN(const io::SpaceInfo space, in_words(disk_->space()));
  pool_ = new buffer::Pool(config.memory_bytes + kTransitBytesMax);
  memory_ = std::make_unique<memory::BlockCache>(
      memory::BlockCacheOptions{config.memory_bytes, 16, config.policy}, registry_);
  budget_ = std::make_unique<cache::Budget>(
      limits_of(config, space), *disk_, [this] { return overhead(); }, registry_, clock_);
  residents_ = std::make_unique<cache::Residents>([this] { return make_disk_policy(); }, *budget_,
                                                  config.ttl, registry_, clock_);
  mapped_ = std::make_unique<cache::MappedObjects>(*catalog_, *objects_, registry_, clock_);
  if (const auto known = reckon_with_earlier_runs(); !known)
    return unusable(config.cache_dir, known.error());
  metrics_ = std::make_unique<cache::Metrics>(registry_);
  claims_ =
      std::make_unique<cache::Claims>(*catalog_, *objects_, *metrics_, config.commit_interval);
  fetch_bytes_ = std::make_unique<io::AsyncSemaphore>(kFetchBytesMax);
  source::SourceOptions source_options;
  source_options.descriptors = descriptors_.get();
  source_options.threads_max = config.source_threads;
  source_options.timeout = config.source_timeout;
  source_options.patience = config.source_patience;
  TRY_ASSIGN(source_,
             in_words(source::Source::open(request_.source, source_options, registry_, clock_)));
  TRY(start_reactors());
  cache::Options cache_options;
  cache_options.block_shift = static_cast<uint8_t>(std::countr_zero(config.block_size_bytes));
  cache_options.readahead_max_bytes = config.readahead_bytes;
  cache_options.rules = config.rules;
  cache_options.is_after_crash = needs_audit_;
  environment_ = std::make_unique<cache::Environment>(cache::Environment{
      *catalog_, *objects_, *memory_, *pool_, *residents_, *open_files_, *mapped_, *claims_,
      *metrics_, clock_, *fetch_bytes_, changes_, cache_options});
  std::vector<io::Reactor*> reactors;
  for (const auto& reactor : reactors_) reactors.push_back(reactor.get());
  files_ = std::make_unique<fs::CachedFileSystem>(*environment_, *source_, reactors,
                                                  coherence_of(config), registry_,
                                                  directories_held_open(descriptors_->max()));
  residents_->set_evict(
      [this](NodeId node, uint64_t wanted_bytes) { return files_->evict(node, wanted_bytes); });
  TRY(load_root());
  warmer_ = std::make_unique<fs::Warmer>(*files_, fs::Warmer::Options{}, registry_);
  warm_commands_ = std::make_unique<WarmCommands>(*warmer_);
  control::CommandTable commands;
  control::add_warm_commands(commands, *warm_commands_);
  control::add_record_commands(commands, files_->recorder(),
                               [this](NodeId node) { return files_->path_in_memory(node); });
  janitor_ = std::make_unique<cache::Janitor>(registry_, clock_);
  add_duties(commands);
  control_ = std::make_unique<control::ControlDirectory>(
      registry_, clock_, facts(), [this] { return render_config(request_.config); },
      std::move(commands));
  fuse::SessionOptions session_options;
  session_options.source_name = request_.source;
  session_options.mountpoint = request_.mountpoint;
  session_options.allow_other = config.allow_other;
  session_options.read_only = config.read_only;
  session_options.mount_flags = config.kernel_flags.words();
  session_options.workers = config.threads != 0 ? config.threads : std::max(2U, processors());
  session_options.passthrough = config.passthrough == Passthrough::kAuto;
  session_options.on_request = [this] { activity_.note(); };
  TRY_ASSIGN(session_, in_words(fuse::Session::mount(session_options, *files_, control_.get(),
                                                     *pool_, registry_, clock_)));
  return {};
}

std::unique_ptr<evict::Policy> RunningMount::make_disk_policy() const {
  const bool expires = request_.config.ttl != Nanos(0) || request_.config.rules.any_ttl();
  auto policy = evict::make_policy(request_.config.policy,
                                   expires ? evict::Expiry::kHonoured : evict::Expiry::kIgnored);
  CHECK(policy.has_value());  // the key takes no other names
  return std::move(*policy);
}

cache::Overhead RunningMount::overhead() const {
  return {.journal_bytes = store_->disk_bytes(),
          .metadata_bytes = metadata_bytes_.load(std::memory_order_relaxed),
          .headroom_bytes =
              store_->headroom_bytes() + metadata_headroom_bytes_.load(std::memory_order_relaxed)};
}

// Directories grow with the objects in them: looked at whenever some were made durable.
void RunningMount::measure_metadata() {
  constexpr uint64_t kDirectoryBytes = 4096;
  uint64_t bytes = 0;
  uint64_t missing = 0;
  const auto add = [&](const std::string& path) {
    const auto info = disk_->info(path);
    (info ? bytes : missing) += info ? info->allocated_bytes : kDirectoryBytes;
  };
  for (const char* path :
       {"", kJournalName, object::Objects::kTop, kMarkName, kRootName, kLockName})
    add(path);
  for (size_t i = 0; i < object::Objects::kDirectories; ++i) add(object::Objects::directory(i));
  metadata_bytes_.store(bytes, std::memory_order_relaxed);
  metadata_headroom_bytes_.store(missing, std::memory_order_relaxed);
}

// What is done in the background: a duty is one entry here.
void RunningMount::add_duties(control::CommandTable& commands) {
  const auto open = [this](NodeId node) { return files_->owner_of(node); };
  census_ = std::make_unique<cache::Census>(*catalog_, *residents_, request_.config.rules);
  audit_ = std::make_unique<cache::Audit>(
      *disk_, *catalog_, activity_,
      cache::Audit::Host{
          [this] {
            auto objects = files_->objects_in_memory();
            mapped_->add_to(objects);
            return objects;
          },
          [this] { return residents_->count(); }, [this] { return residents_->used_bytes(); },
          [this](NodeId node) { return residents_->bytes_of(node); }, open,
          [this](ObjectId object, uint64_t bytes) {
            return mapped_->keep(object, cache::ObjectRoom::of_orphan(*residents_, bytes), nullptr);
          },
          [this](const cache::Budget::Amount& left) { residents_->end_leftovers(left); }},
      needs_audit_, registry_, clock_);
  const cache::Scrub::Options scrub_options{.bytes_per_second =
                                                request_.config.scrub_bytes_per_second};
  scrub_ = std::make_unique<cache::Scrub>(
      *catalog_, *objects_, activity_,
      cache::Scrub::Host{open, [this](NodeId node) { return files_->path_for_message(node); },
                         [this](NodeId node) { files_->blocks_dropped(node); }},
      scrub_options, registry_, clock_);
  trimmer_ = std::make_unique<cache::Trimmer>(
      *catalog_, activity_,
      [this](NodeId node, const std::function<void()>& act) {
        return files_->if_absent(node, act);
      },
      request_.config.forget_after, registry_, clock_);
  // These look at what the census counts, so they wait for its end.
  const auto add_pass = [this](const char* name, auto& pass) {
    return janitor_->add({.name = name, .is_held = true, .step = [&pass] { return pass.step(); }});
  };
  const auto audit = add_pass("audit", *audit_);
  const auto scrub = add_pass("scrub", *scrub_);
  const auto trim = add_pass("trim", *trimmer_);
  const std::array passes{audit, scrub, trim};
  for (const auto duty : passes) janitor_->poke(duty);
  activity_.on_return([this, passes] {
    for (const auto duty : passes) janitor_->poke(duty);
  });
  janitor_->add({.name = "census", .first = cache::kAtOnce, .step = [this, passes] {
                   if (census_->step()) return cache::kAtOnce;
                   for (const auto duty : passes) janitor_->release(duty);
                   return cache::kWhenPoked;
                 }});
  add_pass_commands(commands, "audit", *audit_, audit);
  add_pass_commands(commands, "scrub", *scrub_, scrub);
  // When the cache itself takes room it is poked; others who fill the disk are looked for.
  static constexpr Nanos kLookAround = std::chrono::minutes(1);
  static constexpr uint32_t kEvictionsAtOnce = 64;
  const auto relieve =
      janitor_->add({.name = "evict", .first = clock_.monotonic() + kLookAround, .step = [this] {
                       if (residents_->relieve(kEvictionsAtOnce)) return cache::kAtOnce;
                       high_water_->tighten();
                       return cache::NextStep(clock_.monotonic() + kLookAround);
                     }});
  const auto journal = janitor_->add({.name = "journal", .step = [this, trim, relieve] {
                                        if (!catalog_->has_room()) janitor_->poke(trim);
                                        const auto more = store_->maintain();
                                        if (!more) log::warning("{}", more.error().message());
                                        janitor_->poke(relieve);  // the journal may have grown
                                        return more && *more ? cache::kAtOnce : cache::kWhenPoked;
                                      }});
  claims_->set_committed([this, journal, relieve] {
    measure_metadata();
    if (store_->is_maintenance_due()) janitor_->poke(journal);
    if (high_water_->is_loose()) janitor_->poke(relieve);
  });
  store_->set_wake([this, journal] { janitor_->poke(journal); });
  const Nanos ttl = request_.config.ttl;
  if (ttl != Nanos(0) || request_.config.rules.any_ttl()) {
    const Nanos pause = ttl == Nanos(0)
                            ? kLookAround
                            : std::clamp<Nanos>(ttl / 20, std::chrono::seconds(1), kLookAround);
    janitor_->add({.name = "expire", .first = clock_.monotonic() + pause, .step = [this, pause] {
                     return residents_->expire(kEvictionsAtOnce)
                                ? cache::kAtOnce
                                : cache::NextStep(clock_.monotonic() + pause);
                   }});
  }
  const auto watch =
      janitor_->add({.name = "watch", .pause_min = std::chrono::milliseconds(10), .step = [this] {
                       return files_->watch_step();
                     }});
  files_->set_watch_wake([this, watch] { janitor_->poke(watch); });
  const auto mapped =
      janitor_->add({.name = "mapped", .pause_min = std::chrono::milliseconds(100), .step = [this] {
                       return mapped_->step();
                     }});
  mapped_->set_wake([this, mapped] { janitor_->poke(mapped); });
  const auto look_at_mapped = [this, mapped] {
    if (mapped_->count() != 0) janitor_->poke(mapped);
  };
  residents_->set_pressed([this, look_at_mapped, relieve] {
    look_at_mapped();
    janitor_->poke(relieve);
  });
  residents_->set_refused(look_at_mapped);
}

// Commands to begin a pass now and to follow it.
template <class Duty>
void RunningMount::add_pass_commands(control::CommandTable& commands, const std::string& name,
                                     Duty& duty, cache::Janitor::DutyId id) {
  const auto request = [this, &duty, id] {
    const uint64_t number = duty.schedule().request();
    janitor_->poke(id);
    return number;
  };
  control::add_pass_command(
      commands, {.name = name,
                 .request = request,
                 .answered = [&duty] { return duty.schedule().answered(); },
                 .findings = [&duty] { return control::format_findings(duty.status()); }});
}

Result<void> RunningMount::run() {
  janitor_->start();
  Result<void> served = session_->serve();
  std::thread stopper;
  {
    MutexLock lock(stop_mutex_);
    served_ = true;
    stop_changed_.notify_all();
    stopper = std::move(stopper_);
  }
  if (stopper.joinable()) stopper.join();
  return served;
}

void RunningMount::request_stop() noexcept {
  MutexLock lock(stop_mutex_);
  if (served_) return;  // it is being taken down
  session_->stop();
  if (!stopper_.joinable()) stopper_ = std::thread([this] { give_up_on_source(); });
}

void RunningMount::give_up_on_source() {
  const Nanos deadline = clock_.monotonic() + kStopPatience;
  {
    MutexLock lock(stop_mutex_);
    while (!served_ && clock_.monotonic() < deadline)
      stop_changed_.wait_for(stop_mutex_, deadline - clock_.monotonic());
    if (served_) return;
  }
  log::warning("the source does not answer: what waits for it ends with an error");
  source_->stop();
}

RunningMount::~RunningMount() {
  if (session_) session_->end();
  if (store_) store_->set_wake(nullptr);
  if (janitor_) janitor_->stop();
  if (warmer_) warmer_->stop();
  if (source_) source_->stop();  // what still waits for it ends now
  for (const auto& reactor : reactors_) reactor->stop();
  if (claims_) claims_->stop();
  scrub_.reset();  // which may hold files
  warm_commands_.reset();
  warmer_.reset();
  if (files_) files_->shut_down();
  files_.reset();
  session_.reset();  // which files_ may have spoken to until now
  source_.reset();
  if (mapped_) mapped_->end();
  // What is not counted yet is known by the old mark only.
  if (high_water_ && residents_->has_counted_all())
    if (const auto lowered = high_water_->lower(budget_->taken()); !lowered)
      log::warning("cannot note how much is cached: {}", lowered.error().message());
  if (store_)
    if (const auto closed = store_->close(); !closed)
      log::error("the cache directory was not closed cleanly: {}", closed.error().message());
  memory_.reset();
  if (pool_ != nullptr && pool_->in_use_bytes() == 0) delete pool_;
}

}  // namespace

Result<std::unique_ptr<Mount>> Mount::start(const MountRequest& request) {
  auto mount = std::make_unique<RunningMount>(request);
  TRY(mount->build());
  return std::unique_ptr<Mount>(std::move(mount));
}

}  // namespace larder::app
