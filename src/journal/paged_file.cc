#include "journal/paged_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "format/frame.h"

namespace larder::journal {
namespace {

uint64_t page_checksum(std::span<const std::byte> page, uint64_t seed, uint64_t number) {
  constexpr size_t kSkip = sizeof(PageHeader::checksum);
  return hash64(page.subspan(kSkip), format::seed_at(seed, number));
}

}  // namespace

PagedWriter::PagedWriter(io::File& file, uint64_t offset, uint64_t seed)
    : file_(file), offset_(offset), seed_(seed) {
  buffer_.reserve(kBatchPages * kPageBytes);
  buffer_.resize(sizeof(PageHeader));
}

Result<void> PagedWriter::append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t used = buffer_.size() - page_begin_;
    const size_t size = std::min(bytes.size(), kPageBytes - used);
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.begin() + static_cast<ptrdiff_t>(size));
    bytes = bytes.subspan(size);
    if (used + size < kPageBytes) continue;
    seal_page();
    if (buffer_.size() == kBatchPages * kPageBytes) TRY(flush());
    page_begin_ = buffer_.size();
    buffer_.resize(page_begin_ + sizeof(PageHeader));
  }
  return {};
}

uint64_t PagedWriter::end_with(uint64_t bytes) const {
  const uint64_t open = buffer_.size() - page_begin_ - sizeof(PageHeader) + bytes;
  return offset_ + page_begin_ + (open / kPagePayloadMax + 1) * kPageBytes;
}

void PagedWriter::seal_page() {
  const size_t payload = buffer_.size() - page_begin_ - sizeof(PageHeader);
  buffer_.resize(page_begin_ + kPageBytes);
  PageHeader header{.payload_bytes = static_cast<uint32_t>(payload), .number = page_count_++};
  std::byte* page = buffer_.data() + page_begin_;
  std::memcpy(page, &header, sizeof header);
  header.checksum = page_checksum({page, kPageBytes}, seed_, header.number);
  std::memcpy(page, &header.checksum, sizeof header.checksum);
}

Result<void> PagedWriter::flush() {
  TRY(file_.write_at(buffer_, offset_));
  offset_ += buffer_.size();
  buffer_.clear();
  return {};
}

Result<uint64_t> PagedWriter::finish() {
  seal_page();
  TRY(flush());
  return page_count_;
}

PagedReader::PagedReader(io::File& file, uint64_t offset, uint64_t page_count, uint64_t seed)
    : file_(file), offset_(offset), page_count_(page_count), seed_(seed) {}

Result<void> PagedReader::read(std::span<std::byte> into) {
  while (!into.empty()) {
    if (payload_.empty()) {
      TRY(next_page());
      continue;
    }
    const size_t size = std::min(into.size(), payload_.size());
    std::memcpy(into.data(), payload_.data(), size);
    into = into.subspan(size);
    payload_ = payload_.subspan(size);
  }
  return {};
}

Result<void> PagedReader::verify_rest() {
  while (page_ < page_count_) TRY(next_page());
  return {};
}

Result<void> PagedReader::next_page() {
  if (page_ == page_count_) return fail(Code::kCorrupt, "the pages end too early");
  if (buffered_page_ == buffered_pages_) {
    buffered_pages_ = std::min<uint64_t>(kBatchPages, page_count_ - page_);
    buffered_page_ = 0;
    buffer_.resize(buffered_pages_ * kPageBytes);
    TRY_ASSIGN(const size_t size, file_.read_at(buffer_, offset_));
    if (size < buffer_.size()) return fail(Code::kCorrupt, "the file is too short");
    offset_ += size;
  }
  const auto page =
      std::span<const std::byte>(buffer_).subspan(buffered_page_ * kPageBytes, kPageBytes);
  PageHeader header;
  std::memcpy(&header, page.data(), sizeof header);
  if (header.checksum != page_checksum(page, seed_, page_) || header.number != page_ ||
      header.payload_bytes > kPagePayloadMax)
    return fail(Code::kCorrupt, fmt::format("page {} does not verify", page_));
  payload_ = page.subspan(sizeof header, header.payload_bytes);
  ++page_;
  ++buffered_page_;
  return {};
}

}  // namespace larder::journal
