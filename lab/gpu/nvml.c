/* A stand-in for libnvidia-ml.so.1: it answers the calls of nvidia-ml-py from a text file and from sysfs.
 *
 * Like the real library it refuses to start without a loaded module (9) and with a module of another version (18). It
 * reads both versions at its start. The file is $LAB_NVML, or /etc/lab-nvml.conf, with one fact per line:
 *
 *   sys /sys                     the folder with module/nvidia/version (default /sys)
 *   driver 580.173.02            the version of this library (default: as compiled, -DDRIVER)
 *   fail 15                      refuse to start with this code
 *   gpu 0000:01:00.0 2d04 16311 412 12.0 off GPU-5f1c NVIDIA GeForce RTX 5060 Ti
 *       address, device id, total MiB (0: the memory is not supported, as on a GB10), used MiB, compute capability, display
 *       (on, off, or - for unknown), UUID, name
 *   process 0 4242 400 /usr/bin/ollama
 *       index of the GPU, pid, MiB (or - for unknown), name: a process that computes
 *   graphics 0 1500 120 /usr/lib/xorg/Xorg
 *       likewise: a process that draws; a process with both lines does both
 *   lost 1
 *       index of a GPU that fell off the bus
 *   mig 0
 *       index of a GPU that is divided into MIG instances
 *   live 0 97 61 151 180 180 0x0
 *       index of the GPU, percent in use, degrees, watts, power limit, default power limit, reasons of lowered clocks; a
 *       GPU without such a line does not report these values
 *   busy 0 4242 35
 *       index of the GPU, pid, percent of the GPU's time
 *
 * A missing function raises NVMLError_FunctionNotFound in the client, which host/gpu.py treats as "unknown".
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODPROBE "/usr/bin/nvidia-modprobe"

#ifndef DRIVER
#define DRIVER "580.173.02"
#endif
#define MANY 8
#define PROCESSES 32
enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, SMALL = 7, NOT_LOADED = 9, LOST = 15, MISMATCH = 18 };

typedef struct { unsigned told, use, heat, watts, limit, maker; unsigned long long clocks; } Live;
typedef struct {
  char address[32], uuid[80], name[96], display[8];
  unsigned id, domain, bus, slot;
  unsigned long long total, used;
  int major, minor, lost, mig;
  Live live;
} Gpu;
typedef struct { unsigned gpu, pid; int draws; long long bytes; char name[128]; } Process;
typedef struct { unsigned pid; unsigned long long at; unsigned sm, memory, encoder, decoder; } Sample;
typedef struct { unsigned gpu, pid, percent; } Busy;
typedef struct { char legacy[16]; unsigned domain, bus, device, id, subsystem; char address[32]; } Pci;
typedef struct { unsigned long long total, free, used; } Memory;
typedef struct { unsigned pid; unsigned long long used; unsigned instance, compute; } Info;

static Gpu gpus[MANY];
static Process processes[PROCESSES];
static Busy computing[MANY];
static unsigned count, running, busy;
static char driver[64];

int nvmlInitWithFlags(unsigned flags) {
  char line[512], sys[256] = "/sys", path[300], loaded[64] = "", memory[16];
  int fail = OK;
  (void)flags;
  count = running = busy = 0;
  memset(gpus, 0, sizeof gpus);
  strcpy(driver, DRIVER);
  FILE *file = fopen(getenv("LAB_NVML") ? getenv("LAB_NVML") : "/etc/lab-nvml.conf", "r");
  while (file && fgets(line, sizeof line, file)) {
    Gpu *g = &gpus[count % MANY];
    Process *p = &processes[running % PROCESSES];
    Busy *b = &computing[busy % MANY];
    Live l = {1, 0, 0, 0, 0, 0, 0};
    unsigned index;
    sscanf(line, "sys %255s", sys);
    sscanf(line, "driver %63s", driver);
    sscanf(line, "fail %d", &fail);
    if (sscanf(line, "gpu %31s %x %llu %llu %d.%d %7s %79s %95[^\n]", g->address, &g->id, &g->total, &g->used, &g->major,
               &g->minor, g->display, g->uuid, g->name) == 9 &&
        sscanf(g->address, "%x:%x:%x", &g->domain, &g->bus, &g->slot) == 3)
      count++;
    char kind[16];
    if (sscanf(line, "%15s %u %u %15s %127[^\n]", kind, &p->gpu, &p->pid, memory, p->name) == 5 &&
        (!strcmp(kind, "process") || !strcmp(kind, "graphics"))) {
      p->draws = !strcmp(kind, "graphics");
      p->bytes = strcmp(memory, "-") ? atoll(memory) << 20 : -1;
      running++;
    }
    if (sscanf(line, "lost %u", &index) == 1) gpus[index % MANY].lost = 1;
    if (sscanf(line, "mig %u", &index) == 1) gpus[index % MANY].mig = 1;
    if (sscanf(line, "live %u %u %u %u %u %u %llx", &index, &l.use, &l.heat, &l.watts, &l.limit, &l.maker, &l.clocks) == 7)
      gpus[index % MANY].live = l;
    if (sscanf(line, "busy %u %u %u", &b->gpu, &b->pid, &b->percent) == 3) busy++;
  }
  if (file) fclose(file);
  if (fail) return fail;
  snprintf(path, sizeof path, "%s/module/nvidia/version", sys);
  if (!(file = fopen(path, "r"))) return NOT_LOADED;
  if (fscanf(file, "%63s", loaded) != 1) loaded[0] = 0;
  fclose(file);
  /* The real library also creates the device nodes through this setuid program. */
  if (!access(MODPROBE, X_OK) && system(MODPROBE " -c 0 >/dev/null 2>&1")) return NOT_LOADED;
  return strcmp(loaded, driver) ? MISMATCH : OK;
}

int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return code == MISMATCH ? "Driver/library version mismatch" : "an error of the stand-in"; }
int nvmlSystemGetDriverVersion(char *out, unsigned size) { return snprintf(out, size, "%s", driver) < (int)size ? OK : SMALL; }
int nvmlDeviceGetCount_v2(unsigned *out) { *out = count; return OK; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, Gpu **out) {
  if (index >= count) return INVALID;
  *out = &gpus[index];
  return gpus[index].lost ? LOST : OK;
}
int nvmlDeviceGetHandleByUUID(const char *uuid, Gpu **out) {
  for (unsigned i = 0; i < count; i++)
    if (!strcmp(gpus[i].uuid, uuid)) return nvmlDeviceGetHandleByIndex_v2(i, out);
  return NOT_FOUND;
}
int nvmlDeviceGetName(Gpu *g, char *out, unsigned size) { snprintf(out, size, "%s", g->name); return OK; }
int nvmlDeviceGetUUID(Gpu *g, char *out, unsigned size) { snprintf(out, size, "%s", g->uuid); return OK; }
int nvmlDeviceGetPciInfo_v3(Gpu *g, Pci *out) {
  memset(out, 0, sizeof *out);
  out->domain = g->domain, out->bus = g->bus, out->device = g->slot, out->id = g->id << 16 | 0x10de;
  snprintf(out->address, sizeof out->address, "0000%.20s", g->address);
  return OK;
}
int nvmlDeviceGetMemoryInfo(Gpu *g, Memory *out) {
  *out = (Memory){g->total << 20, (g->total - g->used) << 20, g->used << 20};
  return g->total ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetMigMode(Gpu *g, unsigned *current, unsigned *pending) {
  *current = *pending = g->mig;
  return g->major >= 8 ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetCudaComputeCapability(Gpu *g, int *major, int *minor) {
  *major = g->major, *minor = g->minor;
  return OK;
}
int nvmlDeviceGetDisplayActive(Gpu *g, unsigned *out) {
  *out = !strcmp(g->display, "on");
  return strcmp(g->display, "-") ? OK : NOT_SUPPORTED;
}
static int list(Gpu *g, int draws, unsigned *size, Info *out) {
  unsigned found = 0;
  for (unsigned i = 0; i < running; i++)
    if (&gpus[processes[i].gpu % MANY] == g && processes[i].draws == draws) {
      if (out && found < *size)
        out[found] = (Info){processes[i].pid, (unsigned long long)processes[i].bytes, 0, 0};
      found++;
    }
  int enough = found <= *size;
  *size = found;
  return enough ? OK : SMALL;
}
int nvmlDeviceGetComputeRunningProcesses_v3(Gpu *g, unsigned *size, Info *out) { return list(g, 0, size, out); }
int nvmlDeviceGetGraphicsRunningProcesses_v3(Gpu *g, unsigned *size, Info *out) { return list(g, 1, size, out); }
int nvmlSystemGetProcessName(unsigned pid, char *out, unsigned size) {
  for (unsigned i = 0; i < running; i++)
    if (processes[i].pid == pid) {
      snprintf(out, size, "%s", processes[i].name);
      return OK;
    }
  return NOT_FOUND;
}
static int tell(Gpu *g, unsigned *out, unsigned value) {
  *out = value;
  return g->live.told ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetUtilizationRates(Gpu *g, unsigned *out) { out[1] = 0; return tell(g, out, g->live.use); }
int nvmlDeviceGetTemperature(Gpu *g, unsigned sensor, unsigned *out) { (void)sensor; return tell(g, out, g->live.heat); }
int nvmlDeviceGetPowerUsage(Gpu *g, unsigned *out) { return tell(g, out, g->live.watts * 1000); }
int nvmlDeviceGetEnforcedPowerLimit(Gpu *g, unsigned *out) { return tell(g, out, g->live.limit * 1000); }
int nvmlDeviceGetPowerManagementDefaultLimit(Gpu *g, unsigned *out) { return tell(g, out, g->live.maker * 1000); }
/* Only with its old name, as before driver 535. */
int nvmlDeviceGetCurrentClocksThrottleReasons(Gpu *g, unsigned long long *out) {
  *out = g->live.clocks;
  return g->live.told ? OK : NOT_SUPPORTED;
}
int nvmlDeviceGetProcessUtilization(Gpu *g, Sample *out, unsigned *size, unsigned long long since) {
  unsigned found = 0;
  for (unsigned i = 0; i < busy; i++)
    if (&gpus[computing[i].gpu % MANY] == g) {
      if (out && found < *size) out[found] = (Sample){computing[i].pid, since + 1, computing[i].percent, 0, 0, 0};
      found++;
    }
  int enough = out && found <= *size;
  *size = found;
  return !found ? NOT_FOUND : enough ? OK : SMALL;
}
