// One client of socket.io-client-java, driven over pipes as `driver.mjs` is.
import io.socket.client.Ack;
import io.socket.client.IO;
import io.socket.client.Socket;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.HashMap;
import java.util.Map;
import org.json.JSONArray;
import org.json.JSONObject;

public class Driver {
  static synchronized void report(String kind, Object... fields) {
    Map<String, Object> report = new HashMap<>();
    report.put("kind", kind);
    for (int at = 0; at < fields.length; at += 2) report.put((String) fields[at], fields[at + 1]);
    System.out.println(new JSONObject(report));
  }

  static JSONArray list(Object[] values) {
    JSONArray list = new JSONArray();
    for (Object each : values) {
      if (each instanceof byte[]) {
        JSONArray numbers = new JSONArray();
        for (byte number : (byte[]) each) numbers.put(number & 0xff);
        list.put(numbers);
      } else {
        list.put(each);
      }
    }
    return list;
  }

  static Object[] behindName(JSONArray message) {
    Object[] values = new Object[message.length() - 1];
    for (int at = 0; at < values.length; at++) values[at] = message.opt(at + 1);
    return values;
  }

  static byte[] bytes(Object list) {
    JSONArray numbers = (JSONArray) list;
    byte[] bytes = new byte[numbers.length()];
    for (int at = 0; at < bytes.length; at++) bytes[at] = (byte) numbers.optInt(at);
    return bytes;
  }

  public static void main(String[] arguments) throws Exception {
    JSONObject given = new JSONObject(arguments[0]);
    JSONObject wanted = given.getJSONObject("options");
    Map<String, String> auth = new HashMap<>();
    JSONObject fields = wanted.optJSONObject("auth");
    if (fields != null) for (String name : JSONObject.getNames(fields)) auth.put(name, fields.getString(name));
    JSONArray transports = wanted.getJSONArray("transports");
    IO.Options options =
        IO.Options.builder()
            .setTransports(transports.join(",").replace("\"", "").split(","))
            .setAuth(auth)
            .setReconnectionDelay(50)
            .setReconnectionDelayMax(200)
            .build();
    Socket socket = IO.socket(URI.create(given.getString("url")), options);
    socket.on(Socket.EVENT_CONNECT, none -> report("connect", "sid", socket.id()));
    socket.on(Socket.EVENT_DISCONNECT, why -> report("disconnect", "reason", why[0]));
    socket.on(Socket.EVENT_CONNECT_ERROR, why -> report("connect_error", "error", why[0]));
    socket.onAnyIncoming(
        event -> {
          Object[] values = Arrays.copyOfRange(event, 1, event.length);
          report("event", "name", event[0], "args", list(values));
        });
    socket.connect();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      JSONObject commands = new JSONObject(line);
      for (String command : JSONObject.getNames(commands)) {
        JSONArray message = commands.getJSONArray(command);
        Object[] values = behindName(message);
        if (command.equals("bytes")) for (int at = 0; at < values.length; at++) values[at] = bytes(values[at]);
        Ack acknowledge = reply -> report("ack", "reply", list(reply));
        socket.emit(message.getString(0), values, acknowledge);
      }
    }
    socket.disconnect();
    System.exit(0);
  }
}
