// File headers of all kinds.
#include <cstring>

#include "base/check.h"
#include "format/file_header.h"
#include "fuzz/target.h"

namespace larder::fuzz {
namespace {

using namespace format;

constexpr std::array kMagics{kSuperblockMagic, kSegmentMagic, kCheckpointMagic, kIncrementMagic};

std::string text_of(const HeaderPage& page) {
  return {reinterpret_cast<const char*>(page.data()), sizeof(FileHeader)};
}

}  // namespace

void run(std::string_view input) {
  const auto bytes = std::as_bytes(std::span(input));
  for (const Magic& magic : kMagics) {
    const auto header = parse_header_page(bytes, magic, nullptr, "input");
    if (!header) continue;
    CHECK(header->magic == magic && header->version <= kJournalVersion);
    CHECK(parse_header_page(bytes, magic, &header->store, "input"));
    const Uuid other{.high = header->store.high ^ 1, .low = header->store.low};
    CHECK(!parse_header_page(bytes, magic, &other, "input"));
  }
  // What is written is read back.
  CheckpointBody body;
  std::memcpy(&body, input.data(), std::min(input.size(), sizeof body));
  const Uuid store{.high = input.size(), .low = 7};
  const auto page = make_header_page_of(kCheckpointMagic, store, body);
  const auto again = parse_header_page(page, kCheckpointMagic, &store, "page");
  CHECK(again);
  const auto read = body_of<CheckpointBody>(*again);
  CHECK(std::memcmp(&read, &body, sizeof body) == 0);
}

std::vector<std::string> seeds() {
  const Uuid store{.high = 1, .low = 2};
  return {text_of(make_header_page_of(kSuperblockMagic, store, SuperblockBody{16 << 20})),
          text_of(make_header_page_of(kSegmentMagic, store, SegmentBody{3, 16 << 20})),
          text_of(make_header_page_of(kCheckpointMagic, store, CheckpointBody{.sequence = 4})),
          text_of(make_header_page_of(kIncrementMagic, store, CheckpointBody{.sequence = 5}))};
}

}  // namespace larder::fuzz
