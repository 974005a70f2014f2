#pragma once
// The instructions of calibrate/device/intrinsics.cuh and hopper_intrinsics.cuh on the emulated GPU. Layouts are
// written down from the PTX ISA a second time, independently of the kernels. Included by gpu_emulator.h.

namespace moesim::calibrate {

inline unsigned char* dynamic_shared() {
  return ::emulator::shared_memory;
}
inline std::uint32_t shared_address(const void* pointer) {
  const auto offset = static_cast<const unsigned char*>(pointer) - ::emulator::shared_memory;
  if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(::emulator::kSharedBytes))
    ::emulator::fail("not in shared memory");
  return static_cast<std::uint32_t>(offset);
}
inline unsigned char* at(std::uint32_t address) {
  if (address % 4 != 0 || address + 4 > ::emulator::kSharedBytes) ::emulator::fail("bad shared address");
  return ::emulator::shared_memory + address;
}

inline void copy_async(std::uint32_t target, const void* source, bool valid) {
  if (target % 16 != 0 || reinterpret_cast<std::uintptr_t>(source) % 16 != 0)
    ::emulator::fail("copy not aligned to 16 bytes");
  ::emulator::me().copies.push_back([=] {
    if (valid) {
      std::memcpy(at(target), source, 16);
    } else {
      std::memset(at(target), 0, 16);
    }
  });
}
inline void copy_commit() {
  auto& me = ::emulator::me();
  me.committed.push_back(std::move(me.copies));
  me.copies.clear();
}
template <int Pending>
void copy_wait() {
  ::emulator::run_all_but(::emulator::me().committed, Pending);
}

/// ldmatrix.x4: row l % 8 of matrix l / 8 lies at the address of lane l.
inline void load_matrices(std::uint32_t (&r)[4], std::uint32_t address) {
  if (address % 16 != 0) ::emulator::fail("ldmatrix row not aligned to 16 bytes");
  ::emulator::exchange(address, [&](const auto& all, std::size_t lane) {
    for (std::size_t m = 0; m < 4; ++m) {
      std::memcpy(&r[m], at(all[8 * m + lane / 4]) + lane % 4 * 4, 4);
    }
    return 0;
  });
}
inline void load_matrices_transposed(std::uint32_t (&r)[4], std::uint32_t address) {
  if (address % 16 != 0) ::emulator::fail("ldmatrix row not aligned to 16 bytes");
  ::emulator::exchange(address, [&](const auto& all, std::size_t lane) {
    for (std::size_t m = 0; m < 4; ++m) {
      std::uint16_t pair[2];
      for (std::size_t i = 0; i < 2; ++i) {
        const std::size_t row = lane % 4 * 2 + i, column = lane / 4;
        std::memcpy(&pair[i], at(all[8 * m + row]) + column * 2, 2);
      }
      std::memcpy(&r[m], pair, 4);
    }
    return 0;
  });
}

template <class Element>
float element_of(std::uint32_t word, std::size_t byte) {
  Element element;
  std::memcpy(&element, reinterpret_cast<const unsigned char*>(&word) + byte, sizeof element);
  return to_float(element);
}

/// mma.m16n8: in bytes of k the layouts of 16 bf16 and of 32 fp8 are the same.
template <class Element>
void multiply(float (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1, Element) {
  struct Operands {
    std::uint32_t a[4], b[2];
  };
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}};
  ::emulator::exchange(mine, [&](const auto& all, std::size_t lane) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::size_t row = lane / 4 + i / 2 * 8, column = lane % 4 * 2 + i % 2;
      float sum = 0;
      for (std::size_t byte = 0; byte < 32; byte += sizeof(Element)) {
        const std::size_t half = byte / 16, holder = byte % 16 / 4;
        const std::uint32_t left = all[row % 8 * 4 + holder].a[row / 8 + 2 * half];
        const std::uint32_t right = all[column * 4 + holder].b[half];
        sum += element_of<Element>(left, byte % 4) * element_of<Element>(right, byte % 4);
      }
      c[i] += sum;
    }
    return 0;
  });
}

// Hopper. A barrier is 8 bytes: arrivals expected and still to come, phase; bytes still to come beside it.
struct Barrier {
  std::int16_t expected, pending;
  std::int32_t state;  ///< phase in bit 0; bytes to come times 2
};
inline Barrier& barrier_at(std::uint32_t address) {
  if (address % 8 != 0) ::emulator::fail("barrier not aligned to 8 bytes");
  return *reinterpret_cast<Barrier*>(at(address));
}
inline void complete(Barrier& barrier) {
  if (barrier.pending == 0 && barrier.state / 2 == 0) {
    barrier.state ^= 1;
    barrier.pending = barrier.expected;
    ::emulator::happened();
  }
}
inline void barrier_init(std::uint32_t address, int arrivals) {
  const auto count = static_cast<std::int16_t>(arrivals);
  barrier_at(address) = {count, count, 0};
}
inline void barrier_init_fence() {}
inline void barrier_arrive(std::uint32_t address) {
  Barrier& barrier = barrier_at(address);
  if (--barrier.pending < 0) ::emulator::fail("more arrivals than the barrier expects");
  complete(barrier);
}
inline void barrier_expect(std::uint32_t address, int bytes) {
  barrier_at(address).state += 2 * bytes;
  barrier_arrive(address);
}
inline void barrier_wait(std::uint32_t address, std::uint32_t parity) {
  while ((static_cast<std::uint32_t>(barrier_at(address).state) & 1u) == parity) ::emulator::yield();
}

/// A row-major tensor whose first extent is contiguous.
struct TensorMap {
  const unsigned char* base;
  std::size_t element;
  std::array<int, 3> extents, box;
};
inline std::uint32_t swizzle_128(std::uint32_t address) {
  return address ^ ((address >> 7) & 7u) << 4;
}
inline void load_box(std::uint32_t target, const TensorMap* map, std::uint32_t barrier, int x, int y, int z = 0) {
  if (target % 1024 != 0 || map->box[2] != 1) ::emulator::fail("box not aligned to 1024 bytes");
  const auto row_bytes = static_cast<std::uint32_t>(static_cast<std::size_t>(map->box[0]) * map->element);
  if (row_bytes != 128) ::emulator::fail("rows of a box with this swizzle are 128 bytes");
  for (int row = 0; row < map->box[1]; ++row) {
    for (int i = 0; i < map->box[0]; ++i) {
      const auto offset = static_cast<std::uint32_t>(row) * 128 +
                          static_cast<std::uint32_t>(static_cast<std::size_t>(i) * map->element);
      unsigned char* const place = ::emulator::shared_memory + swizzle_128(target + offset);
      const bool inside = x + i < map->extents[0] && y + row < map->extents[1] && z < map->extents[2];
      if (inside) {
        const std::size_t index = (static_cast<std::size_t>(z) * static_cast<std::size_t>(map->extents[1]) +
                                   static_cast<std::size_t>(y + row)) *
                                      static_cast<std::size_t>(map->extents[0]) +
                                  static_cast<std::size_t>(x + i);
        std::memcpy(place, map->base + index * map->element, map->element);
      } else {
        std::memset(place, 0, map->element);
      }
    }
  }
  Barrier& phase = barrier_at(barrier);
  phase.state -= 2 * 128 * map->box[1];
  complete(phase);
}
inline void prefetch_map(const TensorMap*) {}

inline void warpgroup_fence() {}
inline void pin(float (&)[64]) {}
inline void warpgroup_commit() {
  auto& me = ::emulator::me();
  me.committed_products.push_back(std::move(me.products));
  me.products.clear();
}
template <int Pending>
void warpgroup_wait() {
  ::emulator::run_all_but(::emulator::me().committed_products, Pending);
}
/// Row `row`, byte `byte` of k of the operand behind a descriptor of rows of 128 swizzled bytes.
template <class Element>
float operand(std::uint64_t descriptor, std::size_t row, std::size_t byte) {
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0) ::emulator::fail("descriptor of another layout");
  const auto start = static_cast<std::uint32_t>((descriptor & 0x3fff) << 4);
  const auto group = static_cast<std::uint32_t>((descriptor >> 32 & 0x3fff) << 4);
  const std::uint32_t address =
      start + static_cast<std::uint32_t>(row / 8) * group + static_cast<std::uint32_t>(row % 8 * 128 + byte);
  Element element;
  std::memcpy(&element, ::emulator::shared_memory + swizzle_128(address), sizeof element);
  return to_float(element);
}
template <class Element>
void warpgroup_multiply(float (&d)[64], std::uint64_t a, std::uint64_t b, int accumulate, Element) {
  const std::size_t thread = ::emulator::block.current % 128;
  ::emulator::me().products.push_back([&d, a, b, accumulate, thread] {
    for (std::size_t j = 0; j < 16; ++j) {
      for (std::size_t i = 0; i < 4; ++i) {
        const std::size_t row = thread / 32 * 16 + thread % 32 / 4 + i / 2 * 8, column = 8 * j + thread % 4 * 2 + i % 2;
        float sum = accumulate != 0 ? d[4 * j + i] : 0;
        for (std::size_t byte = 0; byte < 32; byte += sizeof(Element)) {
          sum += operand<Element>(a, row, byte) * operand<Element>(b, column, byte);
        }
        d[4 * j + i] = sum;
      }
    }
  });
}

}  // namespace moesim::calibrate
