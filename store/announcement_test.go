package store_test

import (
	"strings"
	"testing"

	"sluice/store"
	"sluice/store/storetest"
)

func TestWhoKeepsOneEventOfAnAnnouncementDoesNotKeepAll(t *testing.T) {
	rdb := storetest.Mini(t).Client(t)
	s := store.New(rdb, config)
	defer s.Close()
	for range 2 {
		if _, _, err := s.Append(t.Context(), draft(t, "orders", `"text"`), store.AppendOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	stored, err := rdb.LRange(t.Context(), "sluice:history:{orders}", 0, -1).Result()
	if err != nil || len(stored) != 2 {
		t.Fatal(stored, err)
	}
	payload := []byte(stored[1] + "\n" + stored[0])
	a, err := store.ParseAnnouncement("orders", payload)
	if err != nil || len(a.Events) != 2 {
		t.Fatal(a, err)
	}
	copy(payload, strings.Repeat("?", len(payload)))
	for _, e := range a.Events {
		if string(e.Data) != `"text"` {
			t.Errorf("event %s is a part of the announcement: its data is now %q", e.ID(), e.Data)
		}
	}
}
