// The catalog's records and ids.
#include "catalog/catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <map>
#include <set>

#include "support/sim_disk.h"

namespace larder::catalog {
namespace {

using ::testing::ElementsAre;

ChunkRecord full_chunk() {
  return {0x8000'0000'0000'0005, {0xdeadbeef, 0, 0xffffffff}};
}

NodeRecord full_node() {
  NodeRecord record;
  record.attributes = {11,
                       S_IFREG | 0644,
                       2,
                       1000,
                       1001,
                       0x0102,
                       1ULL << 40,
                       77,
                       {{-5, 999'999'999}, {6, 1}, {253'402'300'800, 7}}};
  record.validated_at_ns = -8;
  record.used_at_ns = 9;
  record.parent = NodeId{10};
  record.name = std::string("name with \0 and \xff", 16);
  record.symlink_target = "../target";
  record.object = ObjectId{12};
  record.version = {13, {-14, 2}, {15, 3}, 16};
  record.object_bytes = 17;
  record.block_shift = 18;
  record.data_stable = true;
  record.ctime_moved = true;
  record.listing_parts = 19;
  record.listing_mtime = {20, 4};
  record.listing_ctime = {-21, 5};
  record.cached_at_ns = 22;
  record.first_chunk = full_chunk();
  return record;
}

std::vector<ListingEntry> full_listing() {
  return {
      {"a", NodeId{2}, S_IFREG}, {std::string(255, 'x'), NodeId{3}, S_IFDIR}, {"", NodeId{4}, 0}};
}

// Everything but the whole value is refused: shorter, longer, or of another version.
template <class Decode>
void expect_only_whole_decodes(const std::string& value, Decode decode) {
  ASSERT_TRUE(decode(value));
  for (size_t size = 0; size < value.size(); ++size)
    EXPECT_FALSE(decode(std::string_view(value).substr(0, size))) << "cut to " << size;
  EXPECT_FALSE(decode(value + '\0'));
  for (int version = 0; version < 256; ++version) {
    std::string other = value;
    if (static_cast<uint8_t>(other[0]) == version) continue;
    other[0] = static_cast<char>(version);
    EXPECT_FALSE(decode(other)) << "version " << version;
  }
}

std::string bytes_of(std::string_view hex) {
  std::string bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

// As a larder of record version 2 wrote it.
std::string node_of_version_2() {
  return bytes_of(
      "020b00000000000000a481000002000000e8030000e903000002010000000000000000000000010000"
      "4d00000000000000fbffffffffffffff06002a36fe9c9717006cca88ffffffff08cac471fe9c971709"
      "000000000000000a00000000000000040000006e616d6502000000746f0c000000000000000d000000"
      "0000000000d197a6ffffffff0f00000000000000100000000000000011000000000000001207130000"
      "001400000000000000ebffffffffffffff16000000000000000500000000000000efbeadde00000000");
}

NodeRecord node_read_of_version_2() {
  NodeRecord node;
  node.attributes = {11,
                     S_IFREG | 0644,
                     2,
                     1000,
                     1001,
                     0x0102,
                     1ULL << 40,
                     77,
                     {{-1, 999'999'995}, {1'700'000'000, 6}, {-2, 0}}};
  node.validated_at_ns = 0;  // such a record's dates may have wrapped
  node.used_at_ns = 9;
  node.parent = NodeId{10};
  node.name = "name";
  node.symlink_target = "";  // it may have been that of the link before
  node.object = ObjectId{12};
  node.version = {13, {-2, 500'000'000}, {0, 15}, 16};
  node.object_bytes = 17;
  node.block_shift = 18;
  node.data_stable = true;
  node.ctime_moved = true;
  node.listing_parts = 19;
  node.listing_mtime = {0, 20};
  node.listing_ctime = {-1, 999'999'979};
  node.cached_at_ns = 22;
  node.first_chunk = ChunkRecord{5, {0xdeadbeef, 0}};
  return node;
}

TEST(CatalogRecords, NodesOfTheSecondVersionAreRead) {
  const std::string value = node_of_version_2();
  EXPECT_EQ(decode_node(value), node_read_of_version_2());
  for (size_t size = 0; size < value.size(); ++size)
    EXPECT_FALSE(decode_node(value.substr(0, size))) << "cut to " << size;
  EXPECT_FALSE(decode_node(value + '\0'));
}

// Version 1 had neither the object's age nor the first chunk.
TEST(CatalogRecords, NodesOfTheFirstVersionAreRead) {
  NodeRecord node = node_read_of_version_2();
  constexpr size_t kFirstChunkBytes = sizeof(uint64_t) + 2 * sizeof(uint32_t);
  std::string value = node_of_version_2();
  value[0] = 1;
  value.resize(value.size() - kFirstChunkBytes - sizeof node.cached_at_ns);
  constexpr size_t kBehindFlagsBytes = sizeof(uint32_t) + 2 * sizeof(int64_t);
  char& flags = value[value.size() - kBehindFlagsBytes - 1];
  EXPECT_FALSE(decode_node(value)) << "a flag that version 1 did not have";
  flags = 3;
  node.cached_at_ns = 0;
  node.first_chunk.reset();
  EXPECT_EQ(decode_node(value), node);
  EXPECT_FALSE(decode_node(value + std::string(sizeof node.cached_at_ns, '\0')));
}

TEST(CatalogRecords, AWholeSecondOfNanosecondsIsRefused) {
  NodeRecord node = full_node();
  node.version.mtime.nanoseconds = Timestamp::kPerSecond;
  EXPECT_FALSE(decode_node(encode(node)));
}

TEST(CatalogRecords, ComeBackAsTheyWere) {
  EXPECT_EQ(decode_node(encode(full_node())), full_node());
  EXPECT_EQ(decode_node(encode(NodeRecord{})), NodeRecord{});
  const auto name = decode_name(encode(NameRecord{NodeId{7}, S_IFLNK}));
  ASSERT_TRUE(name);
  EXPECT_EQ(name->node, NodeId{7});
  EXPECT_EQ(name->type, S_IFLNK);
  for (const ChunkRecord& chunk : {full_chunk(), ChunkRecord{}}) {
    const auto decoded = decode_chunk(encode(chunk));
    ASSERT_TRUE(decoded);
    EXPECT_EQ(decoded->present, chunk.present);
    EXPECT_EQ(decoded->checksums, chunk.checksums);
  }
  EXPECT_EQ(decode_listing(encode(full_listing())), full_listing());
  EXPECT_EQ(decode_listing(encode(std::vector<ListingEntry>{})), std::vector<ListingEntry>{});
  for (const uint64_t number : {uint64_t{0}, uint64_t{1}, UINT64_MAX})
    EXPECT_EQ(decode_number(encode_number(number)), number);
}

TEST(CatalogRecords, NothingButTheWholeDecodes) {
  expect_only_whole_decodes(encode(full_node()), decode_node);
  expect_only_whole_decodes(encode(NameRecord{NodeId{7}, S_IFREG}), decode_name);
  expect_only_whole_decodes(encode(full_chunk()), decode_chunk);
  expect_only_whole_decodes(encode(full_listing()), decode_listing);
  expect_only_whole_decodes(encode_number(42), decode_number);
}

TEST(CatalogRecords, ANameThatLeadsNowhereIsRefused) {
  EXPECT_FALSE(decode_name(encode(NameRecord{NodeId{}, S_IFREG})));
}

TEST(CatalogRecords, AHugeCountOfEntriesTakesNoMemory) {
  std::string value = encode(std::vector<ListingEntry>{});
  for (size_t i = 1; i < value.size(); ++i) value[i] = '\xff';
  EXPECT_FALSE(decode_listing(value));
}

TEST(CatalogRecords, KeysOfDifferentKindsNeverMeet) {
  const std::string as_name(8, '\0');
  const std::set<std::string> keys{
      node_key(NodeId{1}),
      name_key(NodeId{1}, ""),
      name_key(NodeId{1}, as_name),
      chunk_key(ObjectId{1}, 0),
      chunk_key(ObjectId{1}, 1),
      listing_key(NodeId{1}, 0),
      inode_key(1),
      meta_key(std::string("\0\0\0\0\0\0\0\1", 8)),
  };
  EXPECT_EQ(keys.size(), 8U);
  EXPECT_LT(node_key(NodeId{255}), node_key(NodeId{256}));  // dumps sort
}

class CatalogTest : public ::testing::Test {
 protected:
  void open(ObjectId last_object = {}) {
    store_.reset();
    store_ = std::move(
        *journal::Store::open(disk_, "", {.segment_bytes = 256 << 10}, *registry_, clock_));
    auto opened = Catalog::open(*store_, last_object);
    ASSERT_TRUE(opened) << opened.error().message();
    catalog_ = std::move(*opened);
  }

  testing::SimDisk disk_;
  ManualClock clock_;
  std::unique_ptr<Registry> registry_ = std::make_unique<Registry>();
  std::unique_ptr<journal::Store> store_;
  std::unique_ptr<Catalog> catalog_;
};

// A walk in stretches, while records are changed, removed and added.
TEST_F(CatalogTest, AWalkInStretchesSeesAllThatLivesThroughout) {
  open();
  constexpr uint64_t kNodes = 500;
  const auto put = [&](uint64_t id, int64_t used_at_ns) {
    Batch batch;
    NodeRecord record;
    record.used_at_ns = used_at_ns;
    batch.put(NodeId{id}, record);
    batch.put(NodeId{id}, "name", {NodeId{id + 1}, S_IFREG});
    ASSERT_TRUE(catalog_->apply(batch));
  };
  for (uint64_t id = 1; id <= kNodes; ++id) put(id, 0);
  std::map<uint64_t, int64_t> seen;
  std::map<uint64_t, std::string> names;
  std::optional<journal::Address> from = journal::Address{};
  int stretches = 0;
  for (; from; ++stretches) {
    const auto next = catalog_->visit_records(
        *from, 64,
        {.node = [&](NodeId node,
                     const NodeRecord& record) { seen[node.value] = record.used_at_ns; },
         .name =
             [&](NodeId parent, std::string_view name, const NameRecord& record) {
               EXPECT_EQ(record.node.value, parent.value + 1);
               names[parent.value] = name;
             }});
    ASSERT_TRUE(next) << next.error().message();
    from = *next;
    if (stretches % 3 != 0 || stretches > 9) continue;
    // From the part that was seen, and from the one that was not.
    for (const uint64_t id :
         {1 + static_cast<uint64_t>(stretches), kNodes - static_cast<uint64_t>(stretches)})
      put(id, stretches + 1);
    Batch batch;
    batch.remove(NodeId{kNodes / 2 + static_cast<uint64_t>(stretches)});
    ASSERT_TRUE(catalog_->apply(batch));
  }
  EXPECT_GT(stretches, 10);
  for (uint64_t id = 1; id <= kNodes; ++id) {
    const auto record = catalog_->node(NodeId{id});
    if (!*record) continue;
    ASSERT_TRUE(seen.contains(id)) << id;
    EXPECT_EQ(seen[id], (**record).used_at_ns) << id;
  }
  EXPECT_EQ(names.size(), kNodes);
  EXPECT_EQ(names[1], "name");
}

TEST_F(CatalogTest, KeepsNumbersUnderNames) {
  open();
  EXPECT_FALSE(*catalog_->number("a"));
  Batch batch;
  batch.put_number("a", 5);
  ASSERT_TRUE(catalog_->apply(batch));
  EXPECT_EQ(**catalog_->number("a"), 5U);
  EXPECT_FALSE(*catalog_->number("b"));
}

TEST_F(CatalogTest, SaysWhichObjectsAreOfThisRun) {
  open();
  const ObjectId of_this_run = *catalog_->allocate_object();
  EXPECT_GE(of_this_run, catalog_->first_object());
  open();
  EXPECT_LT(of_this_run, catalog_->first_object());
}

TEST_F(CatalogTest, GivesOutNoIdOfAnObjectThatIsThere) {
  open(ObjectId{77});
  EXPECT_GT(catalog_->first_object(), ObjectId{77});
  EXPECT_GT(*catalog_->allocate_object(), ObjectId{77});
}

TEST_F(CatalogTest, KeepsWhatABatchPuts) {
  open();
  const NodeId parent{5};
  const NodeId node{6};
  Batch batch;
  EXPECT_TRUE(batch.empty());
  batch.put(node, full_node());
  batch.put(parent, "name", {node, S_IFREG});
  batch.put(ObjectId{12}, 3, full_chunk());
  batch.put_inode(99, node);
  EXPECT_FALSE(batch.empty());
  ASSERT_TRUE(catalog_->apply(batch));
  EXPECT_EQ(**catalog_->node(node), full_node());
  EXPECT_EQ((**catalog_->name(parent, "name")).node, node);
  EXPECT_EQ((**catalog_->chunk(full_node(), 3)).present, full_chunk().present);
  EXPECT_EQ(**catalog_->chunk(full_node(), 0), full_chunk());  // the node's own record has it
  EXPECT_EQ(**catalog_->by_inode(99), node);
  EXPECT_FALSE(*catalog_->chunk(full_node(), 2));
  EXPECT_FALSE(*catalog_->name(parent, "nam"));
  EXPECT_FALSE(*catalog_->by_inode(98));

  Batch removal;
  removal.remove(node);
  removal.remove(parent, "name");
  removal.remove(ObjectId{12}, 3);
  removal.remove_inode(99);
  ASSERT_TRUE(catalog_->apply(removal));
  EXPECT_FALSE(*catalog_->node(node));
  EXPECT_FALSE(*catalog_->name(parent, "name"));
  EXPECT_FALSE(*catalog_->chunk(full_node(), 3));
  EXPECT_FALSE(*catalog_->by_inode(99));
}

TEST_F(CatalogTest, AListingOfManyPartsIsWholeOrNothing) {
  open();
  const NodeId directory{5};
  std::vector<ListingEntry> entries;
  for (uint64_t i = 0; i < 4000; ++i)
    entries.push_back({"entry-" + std::to_string(i), NodeId{100 + i}, S_IFREG});
  Batch batch;
  const uint32_t parts = batch.put_listing(directory, entries);
  EXPECT_GT(parts, 1U);
  const std::vector<Batch> split = batch.split();
  ASSERT_EQ(split.size(), parts);
  for (const Batch& part : split) ASSERT_TRUE(catalog_->apply(part));
  EXPECT_EQ(**catalog_->listing(directory, parts), entries);
  EXPECT_FALSE(*catalog_->listing(directory, parts + 1));
  Batch removal;
  removal.remove_listing_part(directory, 1);
  ASSERT_TRUE(catalog_->apply(removal));
  EXPECT_FALSE(*catalog_->listing(directory, parts));
}

TEST_F(CatalogTest, AnEmptyListingIsOnePart) {
  open();
  Batch batch;
  const uint32_t parts = batch.put_listing(NodeId{5}, {});
  EXPECT_EQ(parts, 1U);
  ASSERT_TRUE(catalog_->apply(batch));
  EXPECT_EQ(**catalog_->listing(NodeId{5}, parts), std::vector<ListingEntry>{});
}

TEST_F(CatalogTest, VisitsNodesAndNothingElse) {
  open();
  Batch batch;
  const NodeId odd{0x6e6e6e6e6e6e6e6e};
  batch.put(NodeId{1}, full_node());
  batch.put(odd, full_node());
  batch.put(NodeId{1}, "n1234567", {NodeId{3}, S_IFREG});
  batch.put(ObjectId{1}, 1, full_chunk());
  batch.put_listing(NodeId{1}, full_listing());
  ASSERT_TRUE(catalog_->apply(batch));
  std::set<NodeId> seen;
  ASSERT_TRUE(catalog_->for_each_node([&](NodeId node, const NodeRecord& record) {
    EXPECT_EQ(record, full_node());
    EXPECT_TRUE(seen.insert(node).second);
    return true;
  }));
  EXPECT_THAT(seen, ElementsAre(NodeId{1}, odd));
  int visits = 0;
  ASSERT_TRUE(catalog_->for_each_node([&](NodeId, const NodeRecord&) {
    ++visits;
    return false;
  }));
  EXPECT_EQ(visits, 1);
}

TEST_F(CatalogTest, IdsAreNeverUsedTwice) {
  std::set<NodeId> nodes{NodeId{}, kRootNode};
  std::set<ObjectId> objects{ObjectId{}};
  const auto take = [&] {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(nodes.insert(*catalog_->allocate_node()).second);
      EXPECT_TRUE(objects.insert(*catalog_->allocate_object()).second);
    }
  };
  for (uint64_t round = 0; round < 12; ++round) {
    open();
    take();
    switch (round % 4) {
      case 0:
        ASSERT_TRUE(store_->close());
        break;
      case 1:
        break;  // not closed
      case 2:
        disk_.process_death();
        break;
      case 3:
        disk_.power_loss(round);
        break;
    }
  }
}

TEST_F(CatalogTest, IdsAreNeverUsedTwiceWhateverStepTheCrashComesAt) {
  open();
  std::set<NodeId> nodes{*catalog_->allocate_node()};
  ASSERT_TRUE(store_->close());
  store_.reset();
  for (uint64_t step = 1;; ++step) {
    disk_.crash_at_step(step);
    auto store = journal::Store::open(disk_, "", {.segment_bytes = 256 << 10}, *registry_, clock_);
    if (store) {
      if (auto catalog = Catalog::open(**store)) {
        EXPECT_TRUE(nodes.insert(*(*catalog)->allocate_node()).second);
      }
    }
    store = fail(Code::kCancelled);
    const bool crashed = disk_.is_crashed();
    disk_.power_loss(step);
    if (!crashed) break;
  }
  EXPECT_GT(nodes.size(), 1U);
}

}  // namespace
}  // namespace larder::catalog
