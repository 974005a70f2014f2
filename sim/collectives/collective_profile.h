#pragma once
// placeholder: replaced by the collectives work
namespace moesim { struct CollectiveProfile {}; }
