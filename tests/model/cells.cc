#include "model/cells.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/checksum.h"

namespace larder::model {
namespace {

struct Cell {
  uint32_t file;
  uint32_t version;
  uint32_t index;
  uint32_t check;
};
static_assert(sizeof(Cell) == kCellBytes);

uint32_t check_of(const Cell& cell) {
  const uint64_t mixed = mix64(mix64(cell.file) ^ (uint64_t{cell.version} << 32 | cell.index));
  return static_cast<uint32_t>(mixed) | 1;  // a cell of zeros is never right
}

Cell cell_at(const std::string& data, size_t at) {
  Cell cell;
  std::memcpy(&cell, data.data() + at, sizeof cell);
  return cell;
}

std::string nonsense(const std::string& data, size_t at) {
  const std::string_view bytes(data.data() + at, kCellBytes);
  if (bytes.find_first_not_of('\0') == std::string_view::npos) return "NULs that nobody wrote";
  std::string text = "bytes of no file, or torn:";
  for (const char byte : bytes) text += fmt::format(" {:02x}", static_cast<unsigned char>(byte));
  return text;
}

std::string wrong_with(const Cell& cell, uint32_t index, const Legal& legal) {
  if (cell.file != legal.file)
    return fmt::format("a byte of file {} in file {}", cell.file, legal.file);
  if (cell.index != index) return fmt::format("what belongs at {}", cell.index * kCellBytes);
  if (cell.version > legal.newest)
    return fmt::format("change {}, which is not made yet", cell.version);
  const bool known = legal.oldest != nullptr && index < legal.oldest->size();
  if (known && cell.version < (*legal.oldest)[index])
    return fmt::format("change {}, after change {} had been seen or written", cell.version,
                       (*legal.oldest)[index]);
  return {};
}

}  // namespace

std::string cells(uint32_t file, uint32_t version, uint64_t offset, uint64_t length) {
  std::string data(length, '\0');
  for (size_t at = 0; at + kCellBytes <= length; at += kCellBytes) {
    Cell cell{file, version, static_cast<uint32_t>((offset + at) / kCellBytes), 0};
    cell.check = check_of(cell);
    std::memcpy(data.data() + at, &cell, sizeof cell);
  }
  return data;
}

std::vector<uint32_t> versions_of(const std::string& data) {
  std::vector<uint32_t> versions;
  for (size_t at = 0; at + kCellBytes <= data.size(); at += kCellBytes)
    versions.push_back(cell_at(data, at).version);
  return versions;
}

std::string check_cells(const std::string& data, uint64_t offset, Legal legal) {
  const size_t first = (kCellBytes - offset % kCellBytes) % kCellBytes;
  for (size_t at = first; at + kCellBytes <= data.size(); at += kCellBytes) {
    const Cell cell = cell_at(data, at);
    if (legal.file == 0) legal.file = cell.file;
    const auto index = static_cast<uint32_t>((offset + at) / kCellBytes);
    const std::string wrong =
        cell.check != check_of(cell) ? nonsense(data, at) : wrong_with(cell, index, legal);
    if (!wrong.empty()) return fmt::format("byte {} is {}", offset + at, wrong);
  }
  return {};
}

}  // namespace larder::model
