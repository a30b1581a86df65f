package mem_test

import (
	"testing"

	"omca/internal/store"
	"omca/internal/store/mem"
	"omca/internal/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return mem.New() })
}
