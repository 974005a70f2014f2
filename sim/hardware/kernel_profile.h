#pragma once
// placeholder: replaced by the kernel cost work
namespace moesim { struct KernelProfile {}; }
