/* An empty kernel module for DKMS to build. Its Makefile defines VERSION, LICENSE and BROKEN. */
#include <linux/module.h>
#ifdef BROKEN
#error too few arguments to function 'pci_resize_resource'
#endif
static int __init begin(void) { return 0; }
static void __exit end(void) { }
module_init(begin);
module_exit(end);
MODULE_LICENSE(LICENSE);
MODULE_VERSION(VERSION);
MODULE_DESCRIPTION("the lab's stand-in for NVIDIA's driver");
