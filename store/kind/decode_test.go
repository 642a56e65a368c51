package kind_test

import (
	"errors"
	"slices"
	"testing"

	"sluice/store/kind"
)

func TestARefusalSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, test := range []struct{ name, channel, payload, want string }{
		{"no text", kind.Activities, " \n", "A JSON object is expected, but there is no text"},
		{"an array", kind.Activities, `[]`, "A JSON object is expected, not an array"},
		{"a string", kind.Activities, `"x"`, "A JSON object is expected, not a string"},
		{"a number", kind.Activities, `1`, "A JSON object is expected, not a number"},
		{"a boolean", kind.Activities, `true`, "A JSON object is expected, not true or false"},
		{"null", kind.Activities, " null\n", "A JSON object is expected, not null"},
		{"a number for a string", kind.Activities, `{"userName":1}`, "userName must be a string, not a number"},
		{"an array for a string", kind.Activities, `{"userName":[]}`, "userName must be a string, not an array"},
		{"an object for a string", kind.Activities, `{"userName":{}}`, "userName must be a string, not an object"},
		{"a string for an array", kind.Notifications, `{"tags":"x"}`, "tags must be an array, not a string"},
		{"a number among strings", kind.Notifications, `{"tags":["x",1]}`, "each of tags must be a string, not a number"},
		{"a string for a boolean", kind.Notifications, `{"read":"yes"}`, "read must be true or false, not a string"},
		{"a string for a number", "progress:t", `{"progress":"1"}`, "progress must be a number, not a string"},
		{"a number out of range", "progress:t", `{"progress":1e999}`, "progress cannot be the number 1e999"},
		{"a wrong character", kind.Activities, `{"type":post}`, "The text is not valid JSON (line 1, column 9)"},
		{"a wrong character on another line", kind.Activities, "{\n  \"type\": \"x\",\n  \"ü\": x\n}", "The text is not valid JSON (line 3, column 8)"},
		{"a comma too many", kind.Activities, `{"type":"x",}`, "The text is not valid JSON (line 1, column 13)"},
		{"half an object", kind.Activities, `{"type":"x"`, "The JSON ends too early (line 1, column 11)"},
		{"two objects", kind.Activities, `{"type":"x"} {}`, "There is more than one JSON value (line 1, column 14)"},
		{"fields are missing", kind.Activities, `{"type":"post_created"}`, "Missing required fields: userName, action"},
		{"an unknown type", kind.Notifications, `{"type":"x","title":"a","message":"b"}`, "type is one of info, success, warning, error"},
		{"an unknown status", "progress:t", `{"progress":1,"status":"x"}`, "status is one of pending, processing, completed, failed"},
	} {
		_, err := kind.DraftPayload(test.channel, []byte(test.payload), maxPayload)
		if err == nil || err.Error() != test.want {
			t.Errorf("%s: %s is refused with\n     %v\nwant %s", test.name, test.payload, err, test.want)
		}
	}
}

func TestARefusalNamesTheFieldsForProgramsToo(t *testing.T) {
	for payload, want := range map[string][]string{
		`{"type":"info"}`:                                      {"title", "message"},
		`{"type":"x","title":"a","message":"b"}`:               {"type"},
		`{"type":"info","title":[],"message":"b"}`:             {"title"},
		`{"type":"info","title":"a","message":"b","tags":[1]}`: {"tags"},
		`{`: nil,
	} {
		_, err := kind.DraftPayload(kind.Notifications, []byte(payload), maxPayload)
		if wrong, ok := errors.AsType[*kind.InvalidError](err); !ok || !slices.Equal(wrong.Fields, want) {
			t.Errorf("%s: got %+v, want the fields %q", payload, err, want)
		}
	}
}
