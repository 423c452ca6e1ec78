# Redraw with `gnuplot mined_phoenix.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_phoenix.tsv'
headroom = 66
stats data using (note('phoenix.prompt')) nooutput
do for [t in 'svg png'] {
    eval open(t, 'mined_phoenix')
    set logscale x 2
    set xrange [58 : 1130]
    set yrange [0 : *]
    set xtics (64, 128, 256, 512, 1024)
    do for [k = 1:2] {
        eval panel(2, k)
        origin = word('prompt generated', k)
        set title 'keys of the '.word('prompt answer', k) offset 0, -0.6
        set xlabel 'used again after a silence of more than (queries)'
        if (k == 1) { set ylabel 'keys of a head and sequence' } else { unset ylabel }
        plot for [i = 1:4] data using (head_x('phoenix.'.origin, i)):'mean' with lines lw 1 lc rgb head_pale(i), \
            data using (mean_x('phoenix_birth.'.origin)):'mean':'lo':'hi' with yerrorlines lw 1.4 dt (6, 4) pt 6 ps 0.5 lc rgb '#666666', \
            data using (mean_x('phoenix.'.origin)):'mean':'lo':'hi' with yerrorlines lw 1.8 pt 7 ps 0.5 lc rgb style_mean
        unset label 99
    }
    eval legend(heads_legend.", NaN with linespoints lw 1.4 dt (6, 4) pt 6 ps 0.5 lc rgb '#666666' title 'first use only', ".mean_legend)
    eval close
}
