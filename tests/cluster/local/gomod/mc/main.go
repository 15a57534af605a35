// Command mc is MinIO's own client, at the version that this module pins.
package main

import (
	"os"

	mc "github.com/minio/mc/cmd"
)

func main() {
	if err := mc.Main(os.Args); err != nil {
		os.Exit(1)
	}
}
