/* Answers that MindSpore's Ascend plugin reads from the runtime: which chip, how many, which version of CANN.
 * Own code; every other function of the runtime is generated as "return 0" (stubs.py). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *chip(void) {
  const char *name = getenv("MS_PLM_SIMULATED_SOC");
  return name && *name ? name : "Ascend910B2";
}

static int64_t cores(void) {
  const char *count = getenv("MS_PLM_SIMULATED_CORES");
  return count && *count ? atoll(count) : 24;
}

const char *aclrtGetSocName(void) { return chip(); }

int rtGetSocVersion(char *name, uint32_t size) {
  if (!size) return 1;
  strncpy(name, chip(), size - 1);
  name[size - 1] = 0;
  return 0;
}

int aclrtGetDeviceCount(uint32_t *count) {
  *count = 16;
  return 0;
}

int rtGetDeviceInfo(uint32_t device, int32_t module, int32_t kind, int64_t *value) {
  if (value) *value = cores();
  return 0;
}

int aclGetDeviceCapability(uint32_t device, int32_t kind, int64_t *value) {
  if (value) *value = cores();
  return 0;
}

int aclrtGetDeviceInfo(uint32_t device, int32_t kind, int64_t *value) {
  if (value) *value = cores();
  return 0;
}

int aclrtGetResInCurrentThread(int32_t kind, uint32_t *value) {
  if (value) *value = (uint32_t)cores();
  return 0;
}

/* version[128], then four parts of 64 bytes, then 128 reserved */
int aclsysGetCANNVersion(int package, void *out) {
  char *text = (char *)out;
  memset(text, 0, 128 + 4 * 64 + 128);
  strcpy(text, "8.3.0");
  strcpy(text + 128, "8");
  strcpy(text + 192, "3");
  strcpy(text + 256, "0");
  strcpy(text + 320, "0");
  return 0;
}
