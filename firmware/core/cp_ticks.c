#include "cp_ticks.h"

uint64_t cp_ticks_unwrap(uint64_t near, uint32_t raw)
{
    const uint32_t ahead = raw - (uint32_t)near;
    if (ahead < 0x80000000u) {
        return near + ahead;
    }
    const uint64_t behind = (uint64_t)(0u - ahead);
    return behind > near ? 0u : near - behind;
}
