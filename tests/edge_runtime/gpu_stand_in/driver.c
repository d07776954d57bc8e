/* The functions of CUDA's driver that edge_runtime/cuda_driver.py calls, on the memory of the host. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static int context, held;

int cuInit(unsigned flags) { return flags; }
int cuDeviceGet(int *device, int number) { *device = 7; return number; }
int cuDeviceGetName(char *name, int size, int device) { strncpy(name, "Stand-in", size); return device != 7; }
int cuDeviceGetAttribute(int *value, int number, int device) { *value = number == 75 ? 8 : 7; return device != 7; }
int cuDriverGetVersion(int *version) { *version = 12060; return 0; }
int cuDevicePrimaryCtxRetain(void **made, int device) { *made = &context; return device != 7; }
int cuCtxSetCurrent(void *given) { return given != &context; }
int cuStreamCreate(void **stream, unsigned flags) { *stream = (void *)0x51; return flags; }
int cuStreamSynchronize(void *stream) { return stream != (void *)0x51; }
int cuMemcpyHtoD_v2(uint64_t to, const void *from, size_t size) { memcpy((void *)to, from, size); return 0; }
int cuMemcpyDtoH_v2(void *to, uint64_t from, size_t size) { memcpy(to, (void *)from, size); return 0; }
int cuMemFree_v2(uint64_t address) { free((void *)address); held--; return 0; }
int stand_in_held(void) { return held; }

int cuMemAlloc_v2(uint64_t *address, size_t size) {
  if (size > 1 << 30) return 2;
  *address = (uint64_t)malloc(size);
  held++;
  return 0;
}

int cuGetErrorString(int code, const char **text) {
  *text = code == 2 ? "out of memory" : "invalid value";
  return 0;
}
