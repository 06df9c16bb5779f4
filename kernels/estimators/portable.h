// The portable tier: vectors of 32 bytes, which processors with AVX2 hold in one register and other devices in parts.
#define CONVERT(v, type) JOIN(JOIN(convert_, type), LANES)(v)
#define INNER
#define HELPER
