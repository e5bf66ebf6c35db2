"""A hub on loopback with the embedded model as `example/notes`, slow enough to be watched. Ends with its stdin."""

import sys
from pathlib import Path

from tests.support.hub import Fault, Hub

hub = Hub()
demo = Path(__file__).parents[1] / "mlx_sidecar" / "demo"
hub.add("example/notes", {path.name: path.read_bytes() for path in demo.iterdir()})
hub.faults.append(Fault("*.safetensors", bytes_per_s=float(sys.argv[1]), times=None))
print(hub.url, flush=True)
sys.stdin.read()
hub.close()
