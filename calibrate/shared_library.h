#pragma once
// A library that is loaded when the program runs, where the machine has it.

#include <dlfcn.h>

#include <initializer_list>
#include <memory>

namespace moesim::calibrate {

class SharedLibrary {
 public:
  SharedLibrary() = default;
  /// The first of `names` that the loader finds; none leaves it empty.
  explicit SharedLibrary(std::initializer_list<const char*> names) {
    for (const char* const name : names) {
      if (void* const handle = dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
        handle_ = std::shared_ptr<void>(handle, dlclose);
        return;
      }
    }
  }
  explicit operator bool() const { return handle_ != nullptr; }

  /// The function called `name`; null where the library lacks it.
  template <class Function>
  void find(const char* name, Function*& function) const {
    function = handle_ ? reinterpret_cast<Function*>(dlsym(handle_.get(), name)) : nullptr;
  }

 private:
  std::shared_ptr<void> handle_;
};

}  // namespace moesim::calibrate
