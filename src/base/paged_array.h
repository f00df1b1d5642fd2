// PagedArray: an array that grows a page at a time, so that elements stay where they are and no
// growth copies or doubles what is there: memory per element is nearly constant.
//
// Not thread-safe.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace larder {

template <class T, size_t kPageElements>
class PagedArray {
 public:
  T& operator[](size_t i) { return pages_[i / kPageElements][i % kPageElements]; }
  const T& operator[](size_t i) const { return pages_[i / kPageElements][i % kPageElements]; }
  size_t size() const { return size_; }
  // Only grows; new elements are value-initialised.
  void resize(size_t size) {
    while (pages_.size() * kPageElements < size)
      pages_.push_back(std::make_unique<T[]>(kPageElements));
    size_ = size;
  }
  size_t size_bytes() const {
    return pages_.size() * kPageElements * sizeof(T) + pages_.capacity() * sizeof(pages_[0]);
  }

 private:
  std::vector<std::unique_ptr<T[]>> pages_;
  size_t size_ = 0;
};

}  // namespace larder
