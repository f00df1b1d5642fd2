// `larder check --repair`, crashed at every changing operation, on a simulated disk: what a mount
// then believes is right, and a second repair keeps what the first would have kept.
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "app/inspect/repair.h"
#include "base/log.h"
#include "base/sanitizer.h"
#include "cache_content.h"
#include "support/sim_disk.h"

namespace larder::app {
namespace {

using larder::testing::SimDisk;

constexpr uint64_t kThinning = kIsSanitized ? 12 : 1;

// The bytes of each object as its record's version of the file has them: the source's, of then.
using Truth = std::map<ObjectId, std::map<Timestamp, std::string>>;

journal::StoreOptions small_log() {
  journal::StoreOptions options;
  options.segment_bytes = 8 << 10;
  options.checkpoint_after_bytes = 24 << 10;
  options.dead_share = 0.3;
  return options;
}

std::string pick(const SimDisk& disk, const std::string& prefix, size_t from_last = 0) {
  std::vector<std::string> found;
  for (const std::string& path : disk.paths())
    if (path.starts_with(prefix) && path.size() == prefix.size() + 16) found.push_back(path);
  EXPECT_GT(found.size(), from_last) << prefix;
  return found.size() > from_last ? found[found.size() - 1 - from_last] : "";
}

// Flips a bit wherever the text is in the log.
void damage_log(SimDisk& disk, std::string_view text) {
  size_t count = 0;
  for (const std::string& path : disk.paths()) {
    if (!path.starts_with("journal/log-")) continue;
    const std::string content = disk.content(path);
    for (size_t at = content.find(text); at != content.npos; at = content.find(text, at + 1)) {
      disk.corrupt(path, at, 0x10);
      ++count;
    }
  }
  EXPECT_GT(count, 0u) << text;
}

void damage_checkpoint(SimDisk& disk, size_t from_last = 0) {
  disk.corrupt(pick(disk, "journal/checkpoint-", from_last), 5000, 0x10);
}

// --- What is damaged, and how

class Scene {
 public:
  Scene() {
    disk_ = std::make_unique<SimDisk>();
    disk_->put("SOURCE", "larder cache 1\n/far\n");
    open();
    content_.fill();
    for (const CacheContent::File* file : {&content_.one(), &content_.two()})
      truth_[file->object][Timestamp{}] = file->data;
  }

  SimDisk& disk() { return *disk_; }
  CacheContent& content() { return content_; }
  const Truth& truth() const { return truth_; }
  void open() { content_.open(*disk_, small_log()); }

  CacheContent::File add_file(const std::string& name) {
    auto file = content_.add_file(name, 5000);
    truth_[file.object][Timestamp{}] = file.data;
    content_.commit();
    return file;
  }
  // Enough of them that the log has several segments and is compacted.
  void churn(int rounds) {
    for (int round = 0; round < rounds; ++round)
      for (int i = 0; i < 12; ++i) {
        content_.apply(catalog::meta_key("number-" + std::to_string(i)),
                       catalog::encode_number(static_cast<uint64_t>(round)));
        settle();
      }
    content_.commit();
    settle();
  }
  void settle() {
    while (content_.store().is_maintenance_due()) {
      EXPECT_TRUE(content_.store().maintain());
    }
  }
  // As a write to the file: its bytes change, here and at the source, and so does its version.
  void rewrite_block(const CacheContent::File& file, size_t block) {
    catalog::NodeRecord record = content_.node(file.node);
    record.data_stable = false;
    put(file.node, record);
    content_.commit();
    std::string data = truth_[file.object].rbegin()->second;
    for (size_t i = 0; i < CacheContent::kBlockBytes; ++i)
      data[block * CacheContent::kBlockBytes + i] = 'Z';
    write_object(file.object, data);
    ++record.version.mtime.seconds;
    truth_[file.object][record.version.mtime] = data;
    record.data_stable = true;
    record.first_chunk = CacheContent::claims_of(data);
    put(file.node, record);
    content_.commit();
  }
  // The source still has it.
  void evict_block(const CacheContent::File& file, uint64_t block) {
    catalog::NodeRecord record = content_.node(file.node);
    record.first_chunk->present &= ~(uint64_t{1} << block);
    record.first_chunk->checksums.erase(record.first_chunk->checksums.begin() +
                                        static_cast<ptrdiff_t>(block));
    put(file.node, record);
    content_.commit();
    const auto object = disk_->open(object::Objects::path(file.object), io::OpenMode::kReadWrite);
    ASSERT_TRUE(object);
    ASSERT_TRUE((*object)->punch(block * CacheContent::kBlockBytes, CacheContent::kBlockBytes));
    ASSERT_TRUE((*object)->sync_data());
  }
  // Three commits: the frames of the two behind say that the first is durable.
  void end_log() {
    for (const char* name : {"x", "y", "z"}) {
      content_.add_directory(kRootNode, name);
      content_.commit();
    }
  }
  void kill() {
    content_.close_store();
    disk_->process_death();
    disk_ = disk_->clone();  // and all of it gets to the medium
  }

 private:
  void put(NodeId node, const catalog::NodeRecord& record) {
    catalog::Batch batch;
    batch.put(node, record);
    content_.apply(batch);
  }
  void write_object(ObjectId id, const std::string& data) {
    const auto object = disk_->open(object::Objects::path(id), io::OpenMode::kReadWrite);
    ASSERT_TRUE(object);
    ASSERT_TRUE((*object)->write_at(std::as_bytes(std::span(data)), 0));
    ASSERT_TRUE((*object)->sync_data());
  }

  std::unique_ptr<SimDisk> disk_;
  CacheContent content_;
  Truth truth_;
};

// --- What a mount makes of it

using Names = std::set<std::string>;

struct Look {
  Names kept;   // records, but for numbers, and each block that is believed and right
  Names wrong;  // what is believed and is not right, or cannot be read
};

class Served {
 public:
  Served(SimDisk& disk, const Truth& truth) : disk_(disk), truth_(truth) {}

  // nullopt: it does not mount.
  std::optional<Look> look() {
    EXPECT_TRUE(finish_journal_exchange(disk_));
    const auto store = journal::Store::open(disk_, "journal", small_log(), registry_, clock_);
    if (!store) return std::nullopt;
    const auto scanned = (*store)->scan([&](std::string_view key, std::string_view value) {
      if (const auto parsed = catalog::parse_key(key)) look_at(key, *parsed, value);
      return true;
    });
    if (!scanned) look_.wrong.insert("the journal");
    check_ids(**store);
    return look_;
  }

 private:
  void look_at(std::string_view name, const catalog::RecordKey& key, std::string_view value) {
    if (key.kind == catalog::RecordKind::kMeta) return;
    look_.kept.emplace(name);
    if (key.kind != catalog::RecordKind::kNode) return;
    nodes_.insert(key.id);
    const auto node = catalog::decode_node(value);
    ASSERT_TRUE(node);
    if (!node->object) return;
    objects_.insert(node->object.value);
    if (node->data_stable && node->first_chunk) look_at_claims(*node);
  }
  void look_at_claims(const catalog::NodeRecord& node) {
    const auto versions = truth_.find(node.object);
    ASSERT_TRUE(versions != truth_.end());
    const auto right = versions->second.find(node.version.mtime);
    ASSERT_TRUE(right != versions->second.end());
    // Another version than the source's is not believed.
    if (right->first != versions->second.rbegin()->first && node.validated_at_ns == 0) return;
    const std::string path = object::Objects::path(node.object);
    for (uint64_t block = 0; block < catalog::kBlocksPerChunk; ++block) {
      if ((node.first_chunk->present >> block & 1) == 0) continue;
      const auto part = [&](const std::string& data) {
        const size_t at = std::min(data.size(), block * CacheContent::kBlockBytes);
        return data.substr(at, CacheContent::kBlockBytes);
      };
      const auto paths = disk_.paths();
      const bool is_there = std::ranges::find(paths, path) != paths.end();
      const std::string there = is_there ? disk_.content(path) : "";
      const bool is_right = part(there) == part(right->second);
      (is_right ? look_.kept : look_.wrong).insert(path + " block " + std::to_string(block));
    }
  }
  // None is given out twice, and an object of a new one can be made.
  void check_ids(journal::Store& store) {
    const auto catalog = catalog::Catalog::open(store);
    if (!catalog) {
      look_.wrong.insert("the counters");
      return;
    }
    const auto node = (*catalog)->allocate_node();
    const auto object = (*catalog)->allocate_object();
    ASSERT_TRUE(node && object);
    if (nodes_.contains(node->value)) look_.wrong.insert("a new node's id");
    if (objects_.contains(object->value)) look_.wrong.insert("a new object's id");
    const auto objects = object::Objects::open(disk_);
    ASSERT_TRUE(objects);
    if (!(*objects)->create(*object, 10)) look_.wrong.insert("a new object");
  }

  SimDisk& disk_;
  const Truth& truth_;
  Registry registry_;
  ManualClock clock_;
  Look look_;
  std::set<uint64_t> nodes_;
  std::set<uint64_t> objects_;
};

std::optional<Look> served(const SimDisk& disk, const Truth& truth) {
  const auto copy = disk.clone();
  return Served(*copy, truth).look();
}

// --- The crashes

struct Damage {
  std::string name;
  std::function<void(Scene&)> make;
};

class RepairCrashTest : public ::testing::TestWithParam<Damage> {
 protected:
  // Each damage is an error or two in the log.
  static void SetUpTestSuite() { log::set_file("/dev/null"); }

  static Result<RepairResult> repair(SimDisk& disk) {
    Report found;
    return app::repair(disk, found, [](const std::string&) {});
  }

  // Nothing is wrong that was not before, and a second repair does what the first would have done.
  void look_again(SimDisk& disk, const Truth& truth, const Names& wrong_before, const Names& kept) {
    const auto mounted = served(disk, truth);
    if (mounted) {
      EXPECT_TRUE(std::ranges::includes(wrong_before, mounted->wrong))
          << *mounted->wrong.begin() << " and others of " << mounted->wrong.size();
    }
    {
      // A mount between the two changes nothing for the worse.
      const auto copy = disk.clone();
      if (mounted) Served(*copy, truth).look();
      const auto repaired = repair(*copy);
      ASSERT_TRUE(repaired) << repaired.error().message();
      const auto right = served(*copy, truth);
      ASSERT_TRUE(right.has_value());
      EXPECT_TRUE(right->wrong.empty()) << *right->wrong.begin();
    }
    const auto repaired = repair(disk);
    ASSERT_TRUE(repaired) << repaired.error().message();
    EXPECT_EQ(repaired->left.finding_count(), 0u) << repaired->left.findings()[0].line();
    const auto again = served(disk, truth);
    ASSERT_TRUE(again.has_value());
    EXPECT_TRUE(again->wrong.empty()) << *again->wrong.begin();
    for (const std::string& key : kept) EXPECT_TRUE(again->kept.contains(key)) << key;
  }

  void crash_everywhere(Scene& scene, const Names& kept, bool can_exchange) {
    const auto before = served(scene.disk(), scene.truth());
    const Names wrong_before = before ? before->wrong : Names();
    bool was_crashed = true;
    for (uint64_t step = 1; was_crashed; step += kThinning) {
      for (uint64_t loss = 0; loss <= (can_exchange ? 2 : 1); ++loss) {
        SCOPED_TRACE("step " + std::to_string(step) + " loss " + std::to_string(loss) +
                     (can_exchange ? "" : " without exchange"));
        const auto disk = scene.disk().clone();
        disk->set_can_exchange(can_exchange);
        disk->crash_at_step(step);
        const auto repaired = repair(*disk);
        was_crashed = disk->is_crashed();
        EXPECT_EQ(repaired.has_value(), !was_crashed);
        loss > 0 ? disk->power_loss(step * 31 + loss) : disk->process_death();
        look_again(*disk, scene.truth(), wrong_before, kept);
        if (HasFailure()) return;
      }
    }
  }
};

TEST_P(RepairCrashTest, ACrashAtEachStep) {
  Scene scene;
  GetParam().make(scene);
  scene.kill();
  {
    // Something is wrong, and repair puts it right.
    const auto disk = scene.disk().clone();
    Report found;
    ASSERT_TRUE(app::repair(*disk, found, [](const std::string&) {}));
    ASSERT_GT(found.finding_count() + found.note_count(), 0u);
  }
  const auto reference = scene.disk().clone();
  const auto repaired = repair(*reference);
  ASSERT_TRUE(repaired) << repaired.error().message();
  ASSERT_EQ(repaired->left.finding_count(), 0u) << repaired->left.findings()[0].line();
  const auto kept = served(*reference, scene.truth());
  ASSERT_TRUE(kept.has_value());
  EXPECT_TRUE(kept->wrong.empty()) << *kept->wrong.begin();
  for (const bool can_exchange : {true, false}) {
    crash_everywhere(scene, kept->kept, can_exchange);
    if (HasFailure()) return;
  }
}

void a_superblock(Scene& scene) {
  scene.end_log();
  scene.disk().corrupt("journal/superblock", 20, 0x10);
}

// The catalog that is left claims what has been rewritten, evicted and removed since.
void the_middle_of_the_log(Scene& scene) {
  const auto gone = scene.add_file("gone");
  scene.content().add_directory(kRootNode, "damaged");
  scene.content().commit();
  scene.rewrite_block(scene.content().one(), 1);
  scene.evict_block(scene.content().one(), 0);
  scene.content().apply(catalog::node_key(gone.node), std::nullopt);
  scene.content().commit();
  scene.disk().erase(object::Objects::path(gone.object));
  scene.end_log();
  damage_log(scene.disk(), "damaged");
}

// Evicted alone: the source has the version of then.
void an_evicted_block_is_claimed_again(Scene& scene) {
  scene.content().add_directory(kRootNode, "damaged");
  scene.content().commit();
  scene.evict_block(scene.content().one(), 2);
  scene.end_log();
  damage_log(scene.disk(), "damaged");
}

// Ids that were given out after the damage are given out again, and their objects are there.
void a_life_behind_the_damage(Scene& scene) {
  scene.content().add_directory(kRootNode, "damaged");
  scene.content().commit();
  scene.kill();
  scene.open();
  scene.add_file("later");
  scene.end_log();
  damage_log(scene.disk(), "damaged");
}

void a_counter_behind_a_checkpoint(Scene& scene) {
  scene.end_log();
  EXPECT_TRUE(scene.content().store().close());
  damage_log(scene.disk(), "object-limit");
  damage_log(scene.disk(), "node-limit");
}

void both_checkpoints(Scene& scene) {
  EXPECT_TRUE(scene.content().store().checkpoint());
  scene.end_log();
  EXPECT_TRUE(scene.content().store().close());
  damage_checkpoint(scene.disk(), 0);
  damage_checkpoint(scene.disk(), 1);
}

void a_compacted_log(Scene& scene) {
  scene.churn(60);
  scene.add_file("later");
  scene.evict_block(scene.content().one(), 2);
  scene.churn(20);
  scene.end_log();
  scene.kill();
  EXPECT_GT(pick(scene.disk(), "journal/log-"), "journal/log-0000000000000003");
  scene.disk().erase(pick(scene.disk(), "journal/log-", 1));
  damage_checkpoint(scene.disk());
}

void nothing_is_left(Scene& scene) {
  scene.end_log();
  for (const std::string& path : scene.disk().paths())
    if (path.starts_with("journal/")) scene.disk().put(path, "nothing");
}

void objects_and_a_tail(Scene& scene) {
  const auto short_one = scene.add_file("short");
  const auto missing = scene.add_file("missing");
  scene.add_file("right");
  scene.end_log();
  scene.content().add_directory(kRootNode, "never synced");
  scene.kill();
  SimDisk& disk = scene.disk();
  disk.corrupt(object::Objects::path(scene.content().one().object), 5, 0x10);
  disk.put(object::Objects::path(short_one.object), "short");
  disk.erase(object::Objects::path(missing.object));
  disk.put("journal/log-0000000000000099.new", "half made");
}

INSTANTIATE_TEST_SUITE_P(
    Each, RepairCrashTest,
    ::testing::Values(Damage{"superblock", a_superblock}, Damage{"middle", the_middle_of_the_log},
                      Damage{"evicted", an_evicted_block_is_claimed_again},
                      Damage{"later_life", a_life_behind_the_damage},
                      Damage{"counters", a_counter_behind_a_checkpoint},
                      Damage{"checkpoints", both_checkpoints}, Damage{"compacted", a_compacted_log},
                      Damage{"nothing", nothing_is_left}, Damage{"objects", objects_and_a_tail}),
    [](const auto& param_info) { return param_info.param.name; });

}  // namespace
}  // namespace larder::app
