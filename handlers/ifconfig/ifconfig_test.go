package ifconfig_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/taskerhq/tasker/handlers"
	"github.com/taskerhq/tasker/handlers/ifconfig"
	"github.com/taskerhq/tasker/handlers/internal/handlertest"
)

func TestInterfaces(t *testing.T) {
	t.Parallel()
	h := handlertest.Make(t, ifconfig.New, nil)
	for _, payload := range []string{"null", "{}"} {
		result, err := handlertest.Handle(t, h, payload)
		var got struct {
			Interfaces []map[string]string
		}
		dec := json.NewDecoder(strings.NewReader(result))
		dec.DisallowUnknownFields()
		if err != nil || dec.Decode(&got) != nil || len(got.Interfaces) == 0 {
			t.Fatalf("got %s, %v", result, err)
		}
		loopback := false
		for _, one := range got.Interfaces {
			_, mac := one["mac_address"]
			if one["interface_name"] == "" || !strings.Contains(one["ip_network"], "/") || !mac || len(one) != 3 {
				t.Errorf("got %v", one)
			}
			loopback = loopback || one["ip_network"] == "127.0.0.1/8"
		}
		if !loopback {
			t.Errorf("no loopback interface in %s", result)
		}
	}
	if _, err := handlertest.Handle(t, h, `{"a":1}`); !handlers.IsPermanent(err) {
		t.Errorf("got %v", err)
	}
}
