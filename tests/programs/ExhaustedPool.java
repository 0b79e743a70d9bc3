import java.net.*;
import java.util.concurrent.*;

/** Two hung threads and two places in their queue; then the thread that accepts runs the handler. */
public class ExhaustedPool {
    public static void main(String[] arguments) throws Exception {
        var pool = new ThreadPoolExecutor(2, 2, 0, TimeUnit.SECONDS, new ArrayBlockingQueue<>(2),
            new ThreadPoolExecutor.CallerRunsPolicy());
        var end = new Timer();
        var listener = new ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"));
        System.out.println(listener.getLocalPort());
        while (true) {
            Socket client = listener.accept();
            pool.execute(() -> handle(client));
        }
    }

    static void handle(Socket client) {
        System.out.println("hung");
        try {
            new CountDownLatch(1).await();
        } catch (InterruptedException ended) {
            return;
        }
    }

    static class Timer extends Thread {
        Timer() {
            setDaemon(true);
            start();
        }

        public void run() {
            try {
                sleep(120_000);
            } catch (InterruptedException ended) {
                return;
            }
            Runtime.getRuntime().halt(1);
        }
    }
}
