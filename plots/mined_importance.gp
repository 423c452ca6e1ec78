# Redraw with `gnuplot mined_importance.gp` in the folder that holds this, both styles and the data.
load 'mined_style.gp'
data = 'mined_importance.tsv'
headroom = 66
stats data using (note('importance.generated')) nooutput
y_max = 0; y_min = 1; x_max = 1
seen(x, y) = y > 0 ? (y_max = y > y_max ? y : y_max, y_min = y < y_min ? y : y_min, x_max = x > x_max ? x : x_max, 0) : 0
stats data using (seen(column('x'), column('mean'))) nooutput
do for [t in 'svg png'] {
    eval open(t, 'mined_importance')
    set logscale x 2
    set logscale y
    set xrange [0.9 : x_max * 2]
    set yrange [y_min / 1.5 : y_max * 1.5]
    set xtics nomirror 4
    do for [k = 1:2] {
        eval panel(2, k)
        origin = word('prompt generated', k)
        set title 'keys of the '.word('prompt answer', k) offset 0, -0.6
        set xlabel 'age of the key (queries since it was born)'
        if (k == 1) { set ylabel 'attention that a key gets, mean' } else { unset ylabel }
        set format y '10^{%T}'
        set termoption enhanced
        plot for [i = 1:4] data using (head_x('importance.'.origin, i) * 1.414):(share(column('mean'))) with lines lw 1 lc rgb head_pale(i), \
            data using (mean_x('importance.'.origin) * 1.414):(share(column('mean'))):(low('lo')):'hi' with yerrorlines lw 1.8 pt 7 ps 0.5 lc rgb style_mean
        unset label 99
    }
    set termoption noenhanced
    eval legend(heads_legend.', '.mean_legend)
    eval close
}
